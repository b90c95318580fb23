//! Runs controllers: changes become items of work, items become plans, plans become writes.
//!
//! Synchronous, with time as an argument, so that a test can drive a whole cluster step by step. [`crate::run`] is the thin
//! shell that waits for changes and for time.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Kind, Kinds, Reason, Status};
use futures_util::FutureExt;
use futures_util::future::select_all;
use object_store::{Change, ChangeType, ListOptions, Selection, Store, Watch};

use crate::controller::Controller;
use crate::events::Recorder;
use crate::execute::execute;
use crate::queue::WorkQueue;
use crate::resource::{Item, Resource};
use crate::view::View;

/// Items looked at before others on the same thread get their turn.
const ITEMS_PER_TURN: usize = 256;

/// Controllers, what they wait for, and what they have left to do.
pub(crate) struct Manager {
    view: View,
    recorder: Recorder,
    slots: Vec<Slot>,
    sources: Vec<Source>,
    /// The kinds as of when sources were last compared with them.
    kinds: Option<Arc<Kinds>>,
    /// The revision as of which all changes have been routed.
    routed: u64,
}

struct Slot {
    controller: Box<dyn Controller>,
    queue: WorkQueue<Item>,
    interests: HashSet<Resource>,
}

struct Source {
    kind: Arc<Kind>,
    watch: Watch,
}

impl Manager {
    pub(crate) fn new(store: Store, controllers: Vec<Box<dyn Controller>>) -> Self {
        let slots: Vec<Slot> = controllers
            .into_iter()
            .map(|controller| {
                let interests = controller.interests().into_iter().collect();
                Slot { controller, queue: WorkQueue::default(), interests }
            })
            .collect();
        let resources: HashSet<Resource> =
            slots.iter().flat_map(|slot| slot.interests.iter().copied()).collect();
        let resources: Vec<Resource> = resources.into_iter().collect();
        let view = View::new(store, &resources);
        Self {
            view,
            recorder: Recorder::default(),
            slots,
            sources: Vec::new(),
            kinds: None,
            routed: 0,
        }
    }

    /// Takes in what changed and does what is due, up to a bound. Returns when to come back: none, when only a change can
    /// bring work.
    pub(crate) fn turn(&mut self, now: Duration) -> Option<Duration> {
        for _ in 0..ITEMS_PER_TURN {
            self.route_changes(now);
            if !self.reconcile_one(now) {
                break;
            }
        }
        self.route_changes(now);
        self.slots.iter().filter_map(|slot| slot.queue.next_due()).min()
    }

    /// Items that wait or have failed, of all controllers.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.slots.iter().map(|slot| slot.queue.len()).sum()
    }

    /// Waits for a change of anything watched.
    pub(crate) async fn changed(&mut self, now: impl Fn() -> Duration) {
        if self.sources.is_empty() {
            return std::future::pending().await;
        }
        let waits = self.sources.iter_mut().map(|source| source.watch.next().boxed());
        let (outcome, index, others) = select_all(waits).await;
        drop(others);
        match outcome {
            Ok(change) => self.route(&change, now()),
            Err(_) => self.restart(index, now()),
        }
    }

    /// Looks at the first item due of each controller. False: there was none.
    fn reconcile_one(&mut self, now: Duration) -> bool {
        let mut any = false;
        let Self { view, recorder, slots, .. } = self;
        for slot in slots {
            let Some(item) = slot.queue.take(now) else { continue };
            any = true;
            let identity = slot.controller.identity();
            let controller = &mut slot.controller;
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let plan = controller.reconcile(view, &item)?;
                execute(view, recorder, identity, plan.actions)?;
                Ok::<_, Status>(plan.again)
            }));
            match outcome {
                Ok(Ok(again)) => {
                    slot.queue.forget(&item);
                    if let Some(wait) = again {
                        slot.queue.add(item, now + wait);
                    }
                }
                Ok(Err(status)) => {
                    let wait = slot.queue.retry(item.clone(), now);
                    if status.reason != Reason::Conflict {
                        tracing::info!(controller = identity.source, key = %item.key, ?wait, %status, "retry");
                    }
                }
                Err(_) => {
                    let wait = slot.queue.retry(item.clone(), now);
                    tracing::error!(controller = identity.source, key = %item.key, ?wait, "panicked");
                }
            }
        }
        any
    }

    fn route_changes(&mut self, now: Duration) {
        self.compare_kinds(now);
        let revision = self.view.store().revision();
        if revision == self.routed {
            return;
        }
        for index in 0..self.sources.len() {
            loop {
                match self.sources[index].watch.try_next() {
                    Ok(Some(change)) => self.route(&change, now),
                    Ok(None) => break,
                    Err(_) => {
                        self.restart(index, now);
                        break;
                    }
                }
            }
        }
        self.routed = revision;
    }

    fn route(&mut self, change: &Change, now: Duration) {
        let kind = change.object.kind();
        let Self { view, slots, .. } = self;
        for slot in slots.iter_mut().filter(|slot| slot.wants(kind)) {
            let items = catch_unwind(AssertUnwindSafe(|| slot.controller.route(view, change)));
            match items {
                Ok(items) => items.into_iter().for_each(|item| slot.queue.add(item, now)),
                Err(_) => {
                    let controller = slot.controller.identity().source;
                    tracing::error!(controller, object = %change.object.key(), "panicked over a change");
                }
            }
            // What is gone is not retried for ever: its next look finds nothing, and forgets it.
        }
    }

    /// Watches what is wanted and known, and nothing else.
    fn compare_kinds(&mut self, now: Duration) {
        let kinds = self.view.store().kinds();
        if self.kinds.as_ref().is_some_and(|known| Arc::ptr_eq(known, &kinds)) {
            return;
        }
        self.sources.retain(|source| kinds.iter().any(|kind| kind == &source.kind));
        for kind in kinds.iter() {
            let watched = self.sources.iter().any(|source| source.kind == *kind);
            if !watched && self.slots.iter().any(|slot| slot.wants(kind)) {
                self.start(kind, now);
            }
        }
        self.kinds = Some(kinds);
    }

    fn start(&mut self, kind: &Arc<Kind>, now: Duration) {
        if let Some((watch, changes)) = begin(self.view.store(), kind) {
            self.sources.push(Source { kind: Arc::clone(kind), watch });
            changes.iter().for_each(|change| self.route(change, now));
        }
    }

    /// Changes were missed: begins again with everything that is there.
    fn restart(&mut self, index: usize, now: Duration) {
        let kind = Arc::clone(&self.sources[index].kind);
        for slot in self.slots.iter_mut().filter(|slot| slot.wants(&kind)) {
            slot.controller.reset(&kind);
        }
        if let Some((watch, changes)) = begin(self.view.store(), &kind) {
            self.sources[index].watch = watch;
            changes.iter().for_each(|change| self.route(change, now));
        }
    }
}

impl Slot {
    fn wants(&self, kind: &Kind) -> bool {
        self.controller.wants_everything()
            || self.interests.iter().any(|one| one.group == kind.group && one.plural == kind.plural)
    }
}

/// Everything of a kind as if it had just been added, and a watch of what follows.
fn begin(store: &Store, kind: &Arc<Kind>) -> Option<(Watch, Vec<Change>)> {
    let list = store.list(kind, &Selection::default(), &ListOptions::default()).ok()?;
    let watch = store.watch(kind, Selection::default(), Some(list.revision)).ok()?;
    let added = |object: object_store::ObjectRef| {
        let revision = object.revision();
        Change { change: ChangeType::Added, object, revision }
    };
    Some((watch, list.items.into_iter().map(added).collect()))
}
