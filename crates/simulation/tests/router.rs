//! What a policy sees of a fleet, and what it is told.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use routing::{EndpointView, Feedback, Happening, Policy, RoundRobin, RouteRequest};
use simulation::{Arrival, Fleet, Outcome, Prompt, Report, Slo};

use common::replicas;

const SCRAPES: Duration = Duration::from_millis(50);

fn arrivals(count: u64) -> Vec<Arrival> {
    (0..count).map(|i| Arrival::new(Duration::from_millis(7 * i), 40, 12)).collect()
}

/// What a policy was shown and told.
#[derive(Default)]
struct Notes {
    ages: Vec<Option<Duration>>,
    in_flight: Vec<u32>,
    prompts: Vec<Vec<u8>>,
    feedback: BTreeMap<u64, Vec<Feedback>>,
}

/// Round robin that refuses each `refuses`-th request, and takes notes.
struct Witness {
    policy: RoundRobin,
    refuses: u64,
    notes: Arc<Mutex<Notes>>,
}

impl Policy for Witness {
    fn choose(
        &mut self,
        request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        now: Duration,
    ) -> Option<usize> {
        let mut notes = self.notes.lock().expect("nobody panicked");
        notes.ages.extend(endpoints.iter().map(|e| e.scrape.map(|scrape| scrape.age(now))));
        notes.in_flight.push(endpoints.iter().map(|endpoint| endpoint.in_flight).sum());
        notes.prompts.push(request.prompt.to_vec());
        let refused = request.id % self.refuses == self.refuses - 1;
        if refused { None } else { self.policy.choose(request, endpoints, now) }
    }

    fn observe(&mut self, feedback: &Feedback) {
        let mut notes = self.notes.lock().expect("nobody panicked");
        notes.feedback.entry(feedback.request).or_default().push(*feedback);
    }

    fn reads_prompt(&self) -> bool {
        true
    }
}

fn watched(refuses: u64, scrapes: Duration, arrivals: Vec<Arrival>) -> (Report, Notes) {
    let notes = Arc::new(Mutex::new(Notes::default()));
    let witness = Witness { policy: RoundRobin::default(), refuses, notes: notes.clone() };
    let fleet = Fleet::new(replicas(3), witness).with_scrapes_every(scrapes);
    let report = fleet.run(arrivals, Duration::MAX).expect("it runs to its end");
    let notes = std::mem::take(&mut *notes.lock().expect("nobody panicked"));
    (report, notes)
}

#[test]
fn each_choice_is_followed_to_its_end() {
    let (report, notes) = watched(u64::MAX, SCRAPES, arrivals(60));
    assert_eq!(notes.feedback.len(), 60);
    for (id, told) in &notes.feedback {
        let request = &report.requests[*id as usize];
        let [sent, first, ended] = told[..] else { panic!("request {id}: {told:?}") };
        assert_eq!((sent.happening, sent.at), (Happening::Sent, request.arrived));
        assert_eq!(first.happening, Happening::FirstToken(request.ttft.unwrap()));
        let Happening::Ended { took, .. } = ended.happening else { panic!("{ended:?}") };
        assert_eq!(took, request.e2e.unwrap());
        assert!(told.iter().all(|news| news.endpoint.0 as usize == request.replica.unwrap()));
    }
}

#[test]
fn scrapes_are_as_old_as_they_may_be_and_no_older() {
    let (_, notes) = watched(u64::MAX, SCRAPES, arrivals(60));
    let ages: Vec<Duration> = notes.ages.into_iter().map(Option::unwrap).collect();
    assert!(ages.iter().all(|age| *age < SCRAPES), "{ages:?}");
    assert!(ages.iter().any(|age| *age > SCRAPES / 2), "{ages:?}");
    let (_, notes) = watched(u64::MAX, Duration::ZERO, arrivals(60));
    assert!(notes.ages.iter().all(|age| *age == Some(Duration::ZERO)));
}

#[test]
fn what_the_policy_refuses_is_refused_and_counts_against_the_goodput() {
    let (report, notes) = watched(6, SCRAPES, arrivals(60));
    let refused = report.requests.iter().filter(|r| r.outcome == Outcome::Refused);
    assert!(refused.clone().all(|request| request.replica.is_none()));
    assert_eq!(refused.count(), 10);
    assert_eq!(notes.feedback.len(), 50);
    let attained = report.summary(&Slo::default()).slo_attainment;
    assert!((attained - 50.0 / 60.0).abs() < 1e-9, "{attained}");
}

#[test]
fn requests_in_flight_are_known_at_once() {
    let all_at_once = vec![Arrival::new(Duration::ZERO, 40, 12); 7];
    let (_, notes) = watched(u64::MAX, SCRAPES, all_at_once);
    assert_eq!(notes.in_flight, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn prompts_with_equal_beginnings_have_equal_first_bytes() {
    let shared = |at| Arrival {
        prompt: Prompt::Shared { prefix: 1, prefix_tokens: 30, tokens: 40 },
        ..Arrival::new(Duration::from_millis(at), 40, 3)
    };
    let (_, notes) = watched(u64::MAX, SCRAPES, vec![shared(0), shared(1)]);
    let [one, two] = &notes.prompts[..] else { panic!("two prompts") };
    assert_eq!((one.len(), &one[..120]), (160, &two[..120]));
    assert_ne!(one[120..124], two[120..124]);
}

#[test]
fn routers_side_by_side_share_scrapes_and_each_counts_its_own_requests() {
    let notes: Vec<_> = (0..2).map(|_| Arc::new(Mutex::new(Notes::default()))).collect();
    let witness = |index: usize| Witness {
        policy: RoundRobin::default(),
        refuses: u64::MAX,
        notes: notes[index].clone(),
    };
    let fleet = Fleet::new(replicas(3), witness(0)).with_router(witness(1));
    let all_at_once = vec![Arrival::new(Duration::ZERO, 40, 12); 8];
    let report = fleet.run(all_at_once, Duration::MAX).expect("it runs to its end");
    let seen = notes.iter().map(|notes| notes.lock().expect("nobody panicked"));
    for (index, notes) in seen.enumerate() {
        assert_eq!(notes.in_flight, [0, 1, 2, 3]);
        assert!(notes.ages.iter().all(|age| *age == Some(Duration::ZERO)));
        let own: Vec<u64> = notes.feedback.keys().copied().collect();
        assert_eq!(own, (0..4).map(|n| 2 * n + index as u64).collect::<Vec<_>>());
    }
    // Neither knows of the other: both begin with the first replica.
    let chosen: Vec<_> = report.requests.iter().map(|request| request.replica).collect();
    assert_eq!(chosen, [0, 0, 1, 1, 2, 2, 0, 0].map(Some));
}

#[test]
fn a_silent_replica_is_known_by_what_it_said_last() {
    let notes = Arc::new(Mutex::new(Notes::default()));
    let policy = RoundRobin::default();
    let witness = Witness { policy, refuses: u64::MAX, notes: notes.clone() };
    let (from, until) = (Duration::from_millis(100), Duration::from_millis(300));
    let fleet = Fleet::new(replicas(3), witness).with_scrapes_every(SCRAPES);
    let fleet = fleet.with_silence(1, from, until);
    fleet.run(arrivals(60), Duration::MAX).expect("it runs to its end");
    let notes = notes.lock().expect("nobody panicked");
    for (arrival, ages) in arrivals(60).iter().zip(notes.ages.chunks(3)) {
        // The last answer before the silence was at 50 ms.
        let silent = (from..until).contains(&arrival.at);
        let expected = if silent { Some(arrival.at - SCRAPES) } else { ages[0] };
        assert_eq!((ages[1], ages[2]), (expected, ages[0]), "at {:?}", arrival.at);
    }
}
