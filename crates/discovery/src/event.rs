//! How slices come.

use crate::Slice;

/// One message of a watch: a list of all there is, then what changes. `kube`'s watcher speaks in the same way.
///
/// A list may come at any time. A watch that was cut, or whose version the server has forgotten, begins again with one; between
/// [`Event::ListBegins`] and [`Event::ListEnds`] a part of the truth is known, and the rest is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Everything will be told again, from the beginning.
    ListBegins,
    /// This one is there.
    Listed(Slice),
    /// That was all: what was not listed is gone.
    ListEnds,
    /// This one is new, or has changed.
    Applied(Slice),
    /// The one of this name is gone.
    Deleted(String),
    /// Nothing can be heard at the moment. Says nothing about the replicas.
    Lost,
}
