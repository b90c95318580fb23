//! A summary, for people: as a table in a terminal, and as a page with plots.

mod html;
mod plot;
mod table;

pub use html::html;
pub use table::table;
