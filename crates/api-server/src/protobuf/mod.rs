//! Protocol buffers, as far as Kubernetes needs them. What messages mean is told by tables.

mod message;

pub(crate) use message::Message;
