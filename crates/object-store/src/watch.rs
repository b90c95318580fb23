//! Changes as they happen, as one watcher sees them.

use std::collections::VecDeque;
use std::sync::Arc;

use apimachinery::{Kind, Status};
use tokio::sync::watch;

use crate::history::Entry;
use crate::list::Selection;
use crate::object::ObjectRef;
use crate::store::Store;

/// What happened to an object, as this watcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeType {
    /// It came into view.
    Added,
    /// It changed within view.
    Modified,
    /// It left the view, or is gone.
    Deleted,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// What happened.
    pub change: ChangeType,
    /// The object now; for one that is gone or left the view, its last state, under the revision of its going.
    pub object: ObjectRef,
    /// The revision.
    pub revision: u64,
}

/// Changes of one kind after a revision, in order, without gaps. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    pub(crate) store: Store,
    pub(crate) kind: Arc<Kind>,
    pub(crate) selection: Selection,
    pub(crate) cursor: u64,
    /// Changes of the kind that are yet to be looked at.
    pub(crate) ready: VecDeque<Entry>,
    pub(crate) news: watch::Receiver<u64>,
}

impl Watch {
    /// The next change. Waits until there is one.
    ///
    /// # Errors
    /// 410 when this watcher fell so far behind that changes were forgotten: list again, and watch from there.
    pub async fn next(&mut self) -> Result<Change, Status> {
        loop {
            if let Some(change) = self.take() {
                return Ok(change);
            }
            self.news.borrow_and_update();
            self.read()?;
            if self.ready.is_empty() && self.news.changed().await.is_err() {
                return Err(Status::expired("the resource is no longer served"));
            }
        }
    }

    /// The next change if there is one already.
    ///
    /// # Errors
    /// As for [`Watch::next`].
    pub fn try_next(&mut self) -> Result<Option<Change>, Status> {
        if let Some(change) = self.take() {
            return Ok(Some(change));
        }
        self.news.borrow_and_update();
        self.read()?;
        Ok(self.take())
    }

    /// The revision up to which everything has been handed out, once nothing is ready: what a bookmark says.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.ready.front().map_or(self.cursor, |change| change.revision.saturating_sub(1))
    }

    fn read(&mut self) -> Result<(), Status> {
        self.cursor = self.store.changes_since(&self.kind, self.cursor, &mut self.ready)?;
        Ok(())
    }

    /// The first of what was read that this watcher sees.
    fn take(&mut self) -> Option<Change> {
        loop {
            let entry = self.ready.pop_front()?;
            if let Some(change) = seen(&self.selection, &entry) {
                return Some(change);
            }
        }
    }
}

/// What a change of the store is to somebody who sees a selection only.
fn seen(selection: &Selection, entry: &Entry) -> Option<Change> {
    let object = entry.after();
    let before = entry.before().is_some_and(|before| selection.includes(before.value()));
    let after = !entry.deleted && selection.includes(object.value());
    let change = match (before, after) {
        (false, true) => ChangeType::Added,
        (true, true) => ChangeType::Modified,
        (true, false) => ChangeType::Deleted,
        (false, false) => return None,
    };
    Some(Change { change, object, revision: entry.revision })
}
