//! What makes an open loop: the schedule never waits for the server.

use std::sync::atomic::{AtomicBool, Ordering};

use loadgen::{ErrorKind, Pace};

use crate::double::{Double, Gate, answer};
use crate::load::{kinds, open, setup};

#[test]
fn a_server_that_stalls_does_not_slow_arrivals() {
    const COUNT: usize = 50;
    // Nobody is answered before all have arrived. Whoever waited for an answer would wait for ever.
    let gate = Gate::new(COUNT);
    let server = Double::start(move |request, stream| gate.pass() && answer(request, stream));
    let (records, outcome) = setup().run(&server, open(COUNT as u64));
    assert_eq!(kinds(&records), [None; COUNT]);
    assert_eq!(outcome.workers[0].connections, COUNT);
    // The stall is seen by those that fell into it, longest by the first.
    let (first, last) = (&records[0], &records[COUNT - 1]);
    assert!(first.ttft().unwrap() > last.sent.unwrap() - first.sent.unwrap());
}

#[test]
fn what_may_not_be_sent_is_recorded_and_not_delayed() {
    // Three are held until the test is over; the rest find no room.
    let gate = Gate::new(4);
    let server = Double::start({
        let gate = std::sync::Arc::clone(&gate);
        move |request, stream| gate.pass() && answer(request, stream)
    });
    let mut setup = setup();
    setup.limits.max_in_flight = 3;
    let stop = AtomicBool::new(false);
    let mut ended = false;
    let (records, _) = setup.run_until(&server, open(10), &stop, |in_flight| {
        // All ten were due long before the second tick; then the fourth opens the gate.
        if in_flight == 3 && server.seen().len() == 3 && !ended {
            ended = true;
            let gate = std::sync::Arc::clone(&gate);
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(200));
                gate.pass()
            });
        }
    });
    let expected = [[None; 3].as_slice(), &[Some(ErrorKind::NotSent); 7]].concat();
    assert_eq!(kinds(&records), expected);
    assert!(records[3..].iter().all(|record| record.sent.is_none() && record.e2e().is_none()));
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_stop_ends_the_run_with_what_was_measured() {
    // The first ten are answered, the others held.
    let held = Gate::new(usize::MAX);
    let server =
        Double::start(
            move |request, stream| {
                if request.number < 10 { answer(request, stream) } else { held.pass() }
            },
        );
    let stop = AtomicBool::new(false);
    let times = (0..100_000).map(std::time::Duration::from_millis).collect();
    let (records, outcome) = setup().run_until(&server, Pace::Open(times), &stop, |_| {
        if server.seen().len() > 20 {
            stop.store(true, Ordering::SeqCst);
        }
    });
    assert_eq!(kinds(&records), [None; 10]);
    assert!(outcome.workers[0].unfinished > 10);
}
