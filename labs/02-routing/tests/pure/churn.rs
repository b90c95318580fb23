//! Pods come and go for as long as a router or a picker lives. What it remembers of them must not grow with their number.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use discovery::{Conditions, Event as Change, Family, Slice, SliceEndpoint, SlicePort};
use lab02_routing::pool_picker::{Pick, PoolPicker, Wish};
use lab02_routing::slices::Wanted;
use lab02_routing::{Dispatcher, Rules};
use proptest::prelude::*;
use routing::{
    Action, Arrival, Attempt, Dispatch, Ending, EndpointId, EndpointView, Event, Feedback,
    Happening, Orders, Policy, RequestKey, RouteRequest,
};

/// Remembers whoever it heard of, until it is told to forget: as every policy does that learns.
#[derive(Default, Clone)]
struct Remembers(Arc<Mutex<BTreeSet<EndpointId>>>);

impl Policy for Remembers {
    fn choose(
        &mut self,
        request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        _now: Duration,
    ) -> Option<usize> {
        let chosen = (request.id as usize).checked_rem(endpoints.len())?;
        self.0.lock().expect("a lock").insert(endpoints[chosen].id);
        Some(chosen)
    }

    fn observe(&mut self, feedback: &Feedback) {
        self.0.lock().expect("a lock").insert(feedback.endpoint);
    }

    fn forget(&mut self, endpoint: EndpointId) {
        self.0.lock().expect("a lock").remove(&endpoint);
    }
}

/// A router's life in numbers.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// The oldest pod is replaced.
    Replace,
    /// The oldest pod fails its probe for a moment.
    Flap,
    /// A request comes.
    Ask,
    /// The oldest request ends, well or not.
    End { well: bool },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Replace),
        1 => Just(Act::Flap),
        4 => Just(Act::Ask),
        4 => any::<bool>().prop_map(|well| Act::End { well }),
    ]
}

const PODS: u32 = 3;

/// Pods by number, as a slice shows them.
fn slice(pods: &[u32]) -> Slice {
    let endpoint = |pod: &u32| SliceEndpoint {
        addresses: vec![format!("10.0.{}.{}", pod / 256, pod % 256)],
        conditions: Conditions { ready: Some(true), ..Conditions::default() },
        pod: None,
        zone: None,
        for_zones: Vec::new(),
    };
    Slice {
        name: "engines".to_owned(),
        family: Family::Ipv4,
        ports: vec![SlicePort { name: String::new(), number: Some(8000) }],
        endpoints: pods.iter().map(endpoint).collect(),
    }
}

proptest! {
    #[test]
    fn nothing_is_remembered_of_pods_that_are_gone(acts in prop::collection::vec(act(), 0..200)) {
        let policy = Remembers::default();
        let mut dispatcher = Dispatcher::new(policy.clone(), Rules::default());
        let (mut orders, mut open) = (Orders::default(), Vec::<(u32, EndpointId, Attempt)>::new());
        let mut pods: Vec<EndpointId> = (0..PODS).map(EndpointId).collect();
        let about = |id: u32| Arrival::new(u64::from(id));
        let mut keys = 0..;
        let mut ids = PODS..;
        dispatcher.set_ready(&pods, Duration::ZERO, &mut orders);
        for (second, act) in (0..).zip(acts) {
            let now = Duration::from_secs(second);
            match act {
                Act::Replace => {
                    let gone = pods.remove(0);
                    pods.extend(ids.next().map(EndpointId));
                    dispatcher.set_ready(&pods, now, &mut orders);
                    dispatcher.forget(gone);
                }
                Act::Flap => {
                    dispatcher.set_ready(&pods[1..], now, &mut orders);
                    dispatcher.set_ready(&pods, now, &mut orders);
                }
                Act::Ask => {
                    let Some(key) = keys.next() else { break };
                    dispatcher.on(RequestKey(key), &about(key), Event::Arrived, now, &mut orders);
                    let start = orders.actions.iter().find_map(|action| match action {
                        Action::Start { attempt, endpoint } => Some((key, *endpoint, *attempt)),
                        _ => None,
                    });
                    open.extend(start);
                }
                Act::End { well } if !open.is_empty() => {
                    let (key, _, attempt) = open.remove(0);
                    let mut tell = |event| {
                        dispatcher.on(RequestKey(key), &about(key), event, now, &mut orders);
                    };
                    let status = if well { 200 } else { 500 };
                    tell(Event::Head { attempt, status, retry_after: None });
                    tell(Event::FirstByte { attempt });
                    tell(Event::Finished { attempt });
                    // A retry is under way elsewhere: its client goes.
                    tell(Event::ClientGone);
                }
                Act::End { .. } => {}
            }
            orders.actions.clear();
            let works: BTreeSet<_> = open.iter().map(|(_, endpoint, _)| *endpoint).collect();
            let known = policy.0.lock().expect("a lock").clone();
            let allowed = |id: &EndpointId| pods.contains(id) || works.contains(id);
            prop_assert!(known.iter().all(allowed), "{known:?} of {pods:?} and {works:?}");
            prop_assert!(dispatcher.outliers().len() <= PODS as usize);
        }
    }

    #[test]
    fn a_picker_remembers_nothing_of_pods_that_are_gone(acts in prop::collection::vec(act(), 0..200)) {
        let policy = Remembers::default();
        let mut picker = PoolPicker::new(policy.clone(), Wanted { port: None, family: Family::Ipv4 }, None);
        let mut names: Vec<u32> = (0..PODS).collect();
        let mut next = PODS..;
        let mut open = Vec::new();
        picker.apply(Change::Listed(slice(&names)));
        picker.apply(Change::ListEnds);
        for (second, act) in (0..).zip(acts) {
            let now = Duration::from_secs(second);
            match act {
                Act::Replace => {
                    names.remove(0);
                    names.extend(next.next());
                    picker.apply(Change::Applied(slice(&names)));
                }
                Act::Flap => {
                    picker.apply(Change::Applied(slice(&names[1..])));
                    picker.apply(Change::Applied(slice(&names)));
                }
                Act::Ask => open.extend(picker.pick(&Wish::default(), now).ok()),
                Act::End { well } if !open.is_empty() => {
                    let Pick { request, endpoint, .. } = open.remove(0);
                    let ending = if well { Ending::Answered } else { Ending::Failed };
                    let happening = Happening::Ended { ending, took: Duration::ZERO };
                    picker.observe(&Feedback { request, endpoint, happening, at: now });
                }
                Act::End { .. } => {}
            }
            let there: BTreeSet<_> = picker.table().replicas().iter().map(|each| each.id).collect();
            let works: BTreeSet<_> = open.iter().map(|pick| pick.endpoint).collect();
            let known = policy.0.lock().expect("a lock").clone();
            let allowed = |id: &EndpointId| there.contains(id) || works.contains(id);
            prop_assert!(known.iter().all(allowed), "{known:?} of {there:?} and {works:?}");
        }
    }
}
