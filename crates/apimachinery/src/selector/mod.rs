//! Which objects are meant: by labels, and by fields.
//!
//! Messages are those of kube-apiserver 1.34.

mod field;
mod label;
mod lexer;

pub use field::FieldSelector;
pub use label::{LabelSelector, Operator, Requirement, has_all};
