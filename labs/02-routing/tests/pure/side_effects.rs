//! A request that would do something twice is sent again only where no endpoint can have begun with it.

use std::time::Duration;

use lab02_routing::{Dispatcher, HedgeRules, Rules};
use routing::{
    Action, Arrival, Attempt, Dispatch, EndpointId, Event, Failure, Orders, Reason, RequestKey,
    RoundRobin,
};

const KEY: RequestKey = RequestKey(0);
const FIRST: Attempt = Attempt(0);

/// What is ordered after these events of a request's first attempt.
fn ordered(repeatable: bool, events: &[Event]) -> Vec<Action> {
    let rules = Rules { hedges: Some(HedgeRules::default()), ..Rules::default() };
    let mut dispatcher = Dispatcher::new(RoundRobin::default(), rules);
    let mut orders = Orders::default();
    dispatcher.set_ready(&[EndpointId(0), EndpointId(1)], Duration::ZERO, &mut orders);
    let about = Arrival { repeatable, ..Arrival::new(0) };
    dispatcher.on(KEY, &about, Event::Arrived, Duration::ZERO, &mut orders);
    assert!(
        orders.actions.iter().any(|action| matches!(action, Action::Start { attempt: FIRST, .. }))
    );
    orders.actions.clear();
    for (second, event) in (1..).zip(events) {
        dispatcher.on(KEY, &about, *event, Duration::from_secs(second), &mut orders);
    }
    orders.actions
}

fn starts(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Start { .. }))
}

fn says(status: u16, retry_after: Option<Duration>) -> Event {
    Event::Head { attempt: FIRST, status, retry_after }
}

#[test]
fn nobody_is_asked_twice_who_may_have_begun() {
    let broken = Event::Failed { attempt: FIRST, why: Failure::Broken };
    let stalled = Event::Failed { attempt: FIRST, why: Failure::Stalled };
    for event in [broken, stalled, says(500, None), says(503, None)] {
        assert!(starts(&ordered(true, &[event])), "{event:?}: what may be repeated is");
        let actions = ordered(false, &[event]);
        assert!(!starts(&actions), "{event:?}: {actions:?}");
        let ends = |action: &Action| match action {
            Action::Refuse(refusal) => refusal.reason == Reason::EndpointFailed,
            Action::Relay { attempt } => *attempt == FIRST,
            _ => false,
        };
        assert!(actions.iter().any(ends), "{event:?}: the client hears of it: {actions:?}");
    }
}

#[test]
fn whoever_was_not_reached_or_was_full_has_not_begun() {
    let soon = Some(Duration::from_secs(1));
    let unreached = Event::Failed { attempt: FIRST, why: Failure::Connect };
    for event in [unreached, says(429, None), says(503, soon)] {
        assert!(starts(&ordered(false, &[event])), "{event:?}");
    }
}

#[test]
fn a_first_byte_that_does_not_come_is_waited_for_and_then_refused() {
    let late = [Event::Due; 40];
    assert!(starts(&ordered(true, &late)));
    let actions = ordered(false, &late);
    assert!(!starts(&actions), "neither hedged nor tried again: {actions:?}");
    let refused = |action: &Action| matches!(action, Action::Refuse(refusal) if refusal.reason == Reason::Deadline);
    assert!(actions.iter().any(refused), "{actions:?}");
}
