//! SPDY/3.1 as far as kubectl speaks it: many streams on one connection, for commands and ports.
//!
//! Kubernetes' clients ignore windows, so there is no flow control beyond the connection's own. Source: the SPDY protocol,
//! draft 3.1 (Chromium project).

mod connection;
mod frame;
mod headers;

pub(crate) use connection::{Event, Out, serve};
