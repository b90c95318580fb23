//! Protocol buffers, as far as Kubernetes needs them. What messages mean is told by tables.

mod decode;
mod fields;
mod message;

pub(crate) use decode::decode;
pub(crate) use message::Message;
