//! Numbered channels on one connection, whatever carries them.

use bytes::Bytes;
use tokio::sync::mpsc;

/// Messages that wait in each direction.
pub(super) const WAITING: usize = 16;

/// Bytes of a channel; none: there will be no more.
pub(super) type Message = (u32, Option<Bytes>);

/// Numbered channels. Dropping it ends the connection, once everything sent has gone.
pub(super) struct Channels {
    pub(super) incoming: mpsc::Receiver<Message>,
    pub(super) outgoing: mpsc::Sender<Message>,
}
