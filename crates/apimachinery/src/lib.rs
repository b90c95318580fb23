//! The rules of Kubernetes objects: kinds, keys, errors, and what follows from an object's text alone.
//!
//! Pure: no I/O, no clock, no thread. An object is a [`serde_json::Value`]; its resource is a [`Kind`].
//! What is stored, who asked and when is not known here.

pub mod apply;
pub mod builtin;
pub mod decode;
pub mod default;
mod key;
mod kind;
mod metadata;
pub mod names;
pub mod patch;
pub mod quantity;
pub mod schema;
pub mod selector;
mod status;
pub mod validate;

pub use key::Key;
pub use kind::{Kind, Kinds, Scope, Subresource, SubresourceSet};
pub use metadata::Meta;
pub use status::{Cause, Details, Reason, Status};
