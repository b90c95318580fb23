//! Model servers of the field, seen by a router: what their metrics pages say, on which paths they answer, and
//! which models they serve.
//!
//! Pure: a page is a `&str`, an answer of a probe is a value; nobody here opens a connection. A router polls
//! [`Kind::routes`]' metrics path and gives the page to [`read()`]. It knows no policy: what a saturated server is,
//! and what to do with one that does not say, is decided elsewhere.
//!
//! **A metric that is not there is not 0.** A page that lacks what its dialect always has is an error, and an
//! error makes no new [`routing::Scrape`]. So the one before grows old, and whoever treats old scrapes as saturated
//! treats a renamed metric the same way.

mod detect;
mod dialect;
mod kind;
mod lora;
mod models;
mod read;
mod scan;

pub use detect::{detect_models, detect_page};
pub use kind::{Evidence, Kind, LABEL, Routes, UnknownKind};
pub use lora::{Lora, MAX_ADAPTERS};
pub use models::{BodyError, MAX_MODELS, Model, read_max_context, read_models};
pub use read::{MAX_PAGE_BYTES, MAX_QUOTED_CHARS, ReadError, Reading, UNSAID_KV_USAGE, read};
