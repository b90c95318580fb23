//! Whole requests through the dispatcher, before endpoints that fail in all the ways that they do.

use std::time::Duration;

use routing::{EndpointId, Reason};
use testbed::{expect, expect_eq, note, rng};

use rand::Rng;

use super::rig::{Acts, Ask, Outcome, Rig, Seen, ms};
use crate::{BudgetRules, ExchangeRules, HedgeRules, OutlierRules, Rules};

const S: Duration = Duration::from_secs(1);
const FINE: Acts = Acts::Answers { first: 20, last: 200 };

/// Nobody is ejected.
fn no_ejections() -> OutlierRules {
    OutlierRules { consecutive_failures: u32::MAX, ..OutlierRules::default() }
}

fn all_answered(context: &str, rig: &Rig) {
    let bad: Vec<&Seen> =
        rig.seen.iter().filter(|seen| seen.outcome != Some(Outcome::Answered(200))).collect();
    let saw = format!("{} others, such as {:?}", bad.len(), bad.first());
    expect(context, bad.is_empty(), "an answer with 200 for every request", saw);
}

#[test]
fn task_2_5_a_dead_replica_costs_no_client_a_request() {
    let dead = EndpointId(1);
    let mut rig = Rig::new(
        3,
        Rules::default(),
        move |endpoint, _| {
            if endpoint == dead { Acts::Dead } else { FINE }
        },
    );
    rig.ask_every(ms(10), 500);
    rig.run();
    all_answered("one of three is dead", &rig);
    let sent = rig.seen.iter().flat_map(|seen| &seen.attempts);
    let sent = sent.filter(|(endpoint, _)| *endpoint == dead).count();
    note(format!("{sent} of 500 requests were sent to the dead one first"));
    expect("requests that were sent to it first", sent <= 10, "few, since it is ejected", sent);
}

#[test]
fn task_2_5_what_breaks_before_its_first_byte_is_tried_again() {
    // It says 200, and dies while it works on the prompts.
    let killed = 2 * S;
    let mut rig = Rig::new(3, Rules::default(), move |endpoint, now| {
        let dies = endpoint == EndpointId(0);
        if dies && now >= killed {
            Acts::Dead
        } else if dies && now + ms(300) >= killed {
            Acts::BreaksBefore { at: (killed - now).as_millis() as u64 }
        } else {
            Acts::Answers { first: 400, last: 500 }
        }
    });
    rig.ask_every(ms(20), 200);
    rig.run();
    all_answered("a replica that is killed before the first byte of what it has", &rig);
    let again = rig.seen.iter().filter(|seen| seen.attempts.len() > 1).count();
    expect("the check itself", again >= 5, "requests that were tried again", again);
}

#[test]
fn task_2_5_what_breaks_after_its_first_byte_is_cut_off_and_not_tried_again() {
    let mut rig = Rig::new(3, Rules::default(), |endpoint, now| {
        if endpoint == EndpointId(0) && now < S { Acts::BreaksAfter { at: 50 } } else { FINE }
    });
    rig.ask_every(ms(50), 60);
    rig.run();
    for seen in &rig.seen {
        let broken = seen.attempts[0].0 == EndpointId(0) && seen.arrived < S;
        let expected = match broken {
            true => Outcome::CutOff(Reason::EndpointFailed),
            false => Outcome::Answered(200),
        };
        expect_eq(format!("request of {:?}", seen.arrived), Some(expected), seen.outcome);
        expect_eq("attempts", 1, seen.attempts.len());
    }
    let cut = rig.count(|outcome| matches!(outcome, Outcome::CutOff(_)));
    expect("the check itself", (1..=7).contains(&cut), "some that were cut off", cut);
}

#[test]
fn task_2_5_a_clients_error_is_answered_once_and_blamed_on_nobody() {
    for status in [400, 401, 404, 413, 422] {
        let mut rig =
            Rig::new(3, Rules::default(), move |_, _| Acts::Says { status, retry_after: false });
        rig.ask_every(ms(10), 60);
        rig.run();
        let same = rig.count(|outcome| *outcome == Outcome::Answered(status));
        expect_eq(format!("60 requests that deserve {status}: answered so"), 60, same);
        expect_eq(format!("{status}: attempts"), 60, rig.attempts());
        expect_eq(format!("{status}: endpoints ejected"), 0, rig.counts().ejected);
    }
}

#[test]
fn task_2_5_retries_are_a_small_part_of_all_when_everybody_fails() {
    let retries = BudgetRules { ratio: 0.2, min_per_s: 2.0, window: 10 * S };
    for acts in
        [Acts::Dead, Acts::Says { status: 500, retry_after: false }, Acts::BreaksBefore { at: 3 }]
    {
        let rules = Rules { retries, outliers: no_ejections(), ..Rules::default() };
        let mut rig = Rig::new(4, rules, move |_, _| acts);
        rig.ask_every(ms(5), 4000);
        rig.run();
        // 20 s of 2 a second, a fifth of 4000, and what it held at first.
        let most = 4000 + 800 + 40 + 2;
        let saw = format!("{} attempts for 4000 requests", rig.attempts());
        note(format!("all fail ({acts:?}): {saw}"));
        let enough = rig.attempts() >= 4700;
        expect(
            format!("{acts:?}"),
            rig.attempts() <= most,
            format!("at most {most} attempts"),
            &saw,
        );
        expect(format!("{acts:?}"), enough, "all retries that there is budget for", &saw);
    }
}

#[test]
fn task_2_5_one_request_has_a_limited_number_of_attempts() {
    let rules = Rules { outliers: no_ejections(), ..Rules::default() };
    let mut rig = Rig::new(8, rules, |_, _| Acts::Dead);
    rig.ask(S, Ask::default());
    rig.run();
    expect_eq("attempts of one request, 8 dead endpoints", 3, rig.attempts());
    let endpoints: std::collections::BTreeSet<_> = rig.seen[0].attempts.iter().collect();
    expect_eq("at so many endpoints", 3, endpoints.len());
    let refused = rig.count(|outcome| {
        matches!(outcome, Outcome::Refused(refusal) if refusal.reason == Reason::EndpointFailed)
    });
    expect_eq("refused, since the endpoints failed", 1, refused);
}

#[test]
fn task_2_5_a_full_endpoint_is_not_broken_and_another_may_have_room() {
    let full = Acts::Says { status: 429, retry_after: true };
    let mut rig =
        Rig::new(3, Rules::default(), move |endpoint, _| if endpoint.0 == 0 { full } else { FINE });
    rig.ask_every(ms(20), 300);
    rig.run();
    all_answered("one of three says 429", &rig);
    expect_eq("ejections", 0, rig.counts().ejections);

    // All are full: what they say is passed on, and not multiplied.
    let rules = Rules {
        retries: BudgetRules { ratio: 0.1, min_per_s: 1.0, window: 10 * S },
        ..Rules::default()
    };
    let mut rig = Rig::new(3, rules, move |_, _| full);
    rig.ask_every(ms(10), 1000);
    rig.run();
    expect_eq("answers with 429", 1000, rig.count(|outcome| *outcome == Outcome::Answered(429)));
    let saw = rig.attempts();
    expect("1000 requests, all full", saw <= 1000 + 100 + 20, "at most 1120 attempts", saw);
    expect_eq("ejections", 0, rig.counts().ejections);
}

#[test]
fn task_2_5_a_hung_endpoint_is_given_up_and_left_alone() {
    let exchange = ExchangeRules { first_byte_timeout: ms(500), ..ExchangeRules::default() };
    let rules = Rules { exchange, ..Rules::default() };
    let mut rig =
        Rig::new(3, rules, |endpoint, _| if endpoint.0 == 2 { Acts::Hangs } else { FINE });
    rig.ask_every(ms(50), 200);
    rig.run();
    all_answered("one of three says 200, and then nothing", &rig);
    let slowest = rig.seen.iter().map(|seen| seen.ended - seen.arrived).max().unwrap_or_default();
    expect(
        "the slowest",
        slowest < ms(500 + 250),
        "one timeout and one answer",
        format!("{slowest:?}"),
    );
    expect("endpoints that were ejected", rig.counts().ejections > 0, "the one that hangs", "none");
}

#[test]
fn task_2_5_a_hedge_cuts_the_tail_for_a_few_attempts() {
    let slow = || {
        let mut rng = rng("slow");
        move |_: EndpointId, _: Duration| {
            if rng.random_bool(0.03) {
                Acts::Answers { first: 3000, last: 3100 }
            } else {
                let first = rng.random_range(20..40);
                Acts::Answers { first, last: first + 100 }
            }
        }
    };
    let run = |hedges: Option<HedgeRules>| {
        let mut rig = Rig::new(4, Rules { hedges, ..Rules::default() }, slow());
        rig.ask_every(ms(20), 3000);
        rig.run();
        all_answered("three in a hundred are slow", &rig);
        let mut waits: Vec<Duration> = rig
            .seen
            .iter()
            .filter_map(|seen| seen.first_byte.map(|at| at - seen.arrived))
            .collect();
        waits.sort_unstable();
        (waits[waits.len() * 99 / 100], rig)
    };
    let (plain, _) = run(None);
    let (hedged, rig) = run(Some(HedgeRules::default()));
    let extra = rig.attempts() - 3000;
    note(format!("99th percentile {plain:?} without hedges, {hedged:?} with {extra} of them"));
    expect(
        "the 99th percentile with hedges",
        hedged * 10 < plain,
        "a tenth or less",
        format!("{hedged:?} after {plain:?}"),
    );
    expect(
        "hedges for 3000 requests",
        extra <= 3000 / 20 + 40,
        "a twentieth, and one in two seconds",
        extra,
    );
    expect("hedges", extra >= 60, "for most that are slow", extra);
    // Each that was answered by the other one: hung up on, and blamed on nobody.
    let both = rig.seen.iter().filter(|seen| seen.attempts.len() == 2);
    let one_each =
        both.filter(|seen| seen.attempts.iter().filter(|(_, cancelled)| *cancelled).count() != 1);
    expect_eq(
        "hedged requests of which not exactly one attempt was hung up on",
        0,
        one_each.count(),
    );
    expect_eq("ejections", 0, rig.counts().ejections);
    expect(
        "hedges that won",
        rig.counts().hedges_won > 50,
        "more than 50",
        rig.counts().hedges_won,
    );
}

/// One of four is always slow, so that a quarter of all would like a hedge. Those that win one never learn how slow it is.
fn one_is_slow(budget: BudgetRules) -> Rig {
    let hedges = Some(HedgeRules { budget, ..HedgeRules::default() });
    let mut rig = Rig::new(4, Rules { hedges, ..Rules::default() }, |endpoint, now| {
        let slow = endpoint == EndpointId(0) && now > S;
        let first = if slow { 3000 } else { 20 };
        Acts::Answers { first, last: first + 100 }
    });
    rig.ask_every(ms(10), 1000);
    rig.run();
    all_answered("one of four is slow", &rig);
    rig
}

#[test]
fn task_2_5_hedges_have_a_budget() {
    let rig = one_is_slow(BudgetRules { ratio: 0.05, min_per_s: 0.5, window: 10 * S });
    let extra = rig.attempts() - 1000;
    expect("hedges for 1000 requests", extra <= 50 + 7, "a twentieth and a few", extra);
    expect("hedges for 1000 requests", extra >= 20, "some", extra);
}

#[test]
fn task_2_5_who_loses_to_a_hedge_is_not_blamed() {
    let rig = one_is_slow(BudgetRules { ratio: 1.0, min_per_s: 10.0, window: 10 * S });
    let extra = rig.attempts() - 1000;
    expect("the check itself", extra >= 100, "many hedges", extra);
    expect_eq("ejections of an endpoint that is only slow", 0, rig.counts().ejections);
}

#[test]
fn task_2_5_a_request_lives_on_while_one_of_its_attempts_does() {
    let hedged = 3 * S;
    let mut later = 0;
    let script = move |_: EndpointId, now: Duration| {
        if now < hedged {
            return FINE;
        }
        later += 1;
        if later == 1 {
            Acts::BreaksBefore { at: 200 }
        } else {
            Acts::Answers { first: 300, last: 400 }
        }
    };
    let rules = Rules { hedges: Some(HedgeRules::default()), ..Rules::default() };
    let mut rig = Rig::new(2, rules, script);
    rig.ask_every(ms(20), 90);
    let ask = rig.ask(hedged, Ask::default());
    rig.run();
    let seen = &rig.seen[ask];
    expect_eq("attempts, at two endpoints", 2, seen.attempts.len());
    let context = "the first breaks while the second works";
    expect_eq(context, Some(Outcome::Answered(200)), seen.outcome);
    expect_eq("retries", 0, rig.counts().retries);
}

#[test]
fn task_2_5_nobody_works_for_a_client_that_is_gone() {
    let exchange = ExchangeRules { first_byte_timeout: 100 * S, ..ExchangeRules::default() };
    let rules = Rules { exchange, hedges: Some(HedgeRules::default()), ..Rules::default() };
    let mut rig = Rig::new(2, rules, |_, now| {
        if now < 2 * S { FINE } else { Acts::Answers { first: 1000, last: 5000 } }
    });
    rig.ask_every(ms(20), 90);
    // Before the first byte, with two attempts under way; after it; and in the queue of attempts that never end.
    let asks = [100, 800, 2000]
        .map(|leaves| rig.ask(3 * S, Ask { leaves: Some(ms(leaves)), ..Ask::default() }));
    rig.run();
    for ask in asks {
        let seen = &rig.seen[ask];
        expect_eq("the client", Some(Outcome::Gone), seen.outcome);
        let all = seen.attempts.iter().all(|(_, cancelled)| *cancelled);
        expect("its attempts", all, "all hung up on", format!("{:?}", seen.attempts));
    }
    expect_eq("ejections", 0, rig.counts().ejections);

    let mut rig = Rig::new(2, Rules::default(), |_, _| Acts::Hangs);
    for at in 0..40 {
        rig.ask(S + ms(at), Ask { leaves: Some(ms(100)), ..Ask::default() });
    }
    rig.run();
    expect_eq("40 clients that leave: ejections", 0, rig.counts().ejections);
}

#[test]
fn task_2_5_a_deadline_ends_a_request_wherever_it_is() {
    let exchange =
        ExchangeRules { deadline: 2 * S, first_byte_timeout: 60 * S, ..ExchangeRules::default() };
    let run = |acts: Acts, patience: Option<Duration>, count: u32| {
        let mut rig = Rig::new(2, Rules { exchange, ..Rules::default() }, move |_, _| acts);
        for at in 0..count {
            rig.ask(S + ms(u64::from(at)), Ask { patience, ..Ask::default() });
        }
        rig.run();
        rig
    };
    let endless = Acts::Answers { first: 100, last: 100_000 };
    for (acts, patience, after) in [
        (Acts::Hangs, None, ms(2000)),
        (Acts::Hangs, Some(ms(700)), ms(700)),
        (Acts::Hangs, Some(100 * S), ms(2000)),
        (endless, None, ms(2000)),
        (endless, Some(ms(700)), ms(700)),
    ] {
        let rig = run(acts, patience, 1);
        let seen = &rig.seen[0];
        let context = format!("{acts:?}, patience {patience:?}");
        expect_eq(format!("{context}: over after"), after, seen.ended - seen.arrived);
        let right = match seen.outcome {
            Some(Outcome::Refused(refusal)) => {
                acts == Acts::Hangs && refusal.reason == Reason::Deadline
            }
            Some(Outcome::CutOff(reason)) => acts == endless && reason == Reason::Deadline,
            _ => false,
        };
        expect(context, right, "ended for its deadline", format!("{:?}", seen.outcome));
    }
    // Who has no patience says nothing about endpoints; a deadline of ours does.
    expect_eq(
        "20 impatient clients: ejections",
        0,
        run(Acts::Hangs, Some(ms(50)), 20).counts().ejections,
    );
    let blamed = run(Acts::Hangs, None, 20).counts().ejections;
    expect("20 deadlines of ours: ejections", blamed > 0, "some", blamed);
}

#[test]
fn task_2_5_requests_wait_for_a_place_and_are_shed_with_a_time_to_come_again() {
    let rules = Rules { max_in_flight: 2, max_queue: 20, ..Rules::default() };
    let mut rig = Rig::new(2, rules, |_, _| Acts::Answers { first: 100, last: 1000 });
    for _ in 0..40 {
        rig.ask(S, Ask::default());
    }
    rig.run();
    let shed = rig.count(|outcome| {
        matches!(outcome, Outcome::Refused(refusal)
            if refusal.reason.status() == 429 && refusal.retry_after.is_some_and(|after| after >= S))
    });
    // 4 begin, 20 wait and are served 4 a second; 16 find no place.
    expect_eq("40 at once, 4 places, a queue of 20: shed with 429 and Retry-After", 16, shed);
    expect_eq("answered", 24, rig.answered());
    let last = rig.seen.iter().map(|seen| seen.ended).max();
    expect_eq("the last one", Some(7 * S), last);
}

#[test]
fn task_2_5_whoever_waits_too_long_is_told_so() {
    let exchange = ExchangeRules { max_wait: 3 * S, ..ExchangeRules::default() };
    let rules = Rules { max_in_flight: 1, exchange, ..Rules::default() };
    let mut rig = Rig::new(1, rules, |_, _| Acts::Answers { first: 100, last: 1000 });
    for _ in 0..10 {
        rig.ask(S, Ask::default());
    }
    rig.run();
    expect(
        "answered within 3 s, one a second",
        (3..=4).contains(&rig.answered()),
        "3 or 4",
        rig.answered(),
    );
    let late = rig.count(|outcome| {
        matches!(outcome, Outcome::Refused(refusal) if refusal.reason == Reason::QueueTimeout)
    });
    expect_eq("told that they waited too long", 10, late + rig.answered());
}

#[test]
fn task_2_5_without_anybody_ready_the_answer_is_503() {
    let mut rig = Rig::new(0, Rules::default(), |_, _| FINE);
    rig.ask(S, Ask::default());
    rig.run();
    let right = matches!(rig.seen[0].outcome, Some(Outcome::Refused(refusal))
        if refusal.reason.status() == 503 && refusal.retry_after.is_some());
    expect("no endpoint", right, "503 with Retry-After", format!("{:?}", rig.seen[0].outcome));
}

#[test]
fn task_2_5_a_flood_of_one_tenant_does_not_drown_the_others() {
    let rules = Rules { max_in_flight: 4, max_queue: 50, ..Rules::default() };
    let mut rig = Rig::new(2, rules, |_, _| Acts::Answers { first: 50, last: 100 });
    // 80 a second can be served. One asks for 400, the other for 20.
    for at in 0..4000 {
        rig.ask(ms(at * 5 / 2), Ask { tenant: "flood", ..Ask::default() });
    }
    let quiet: Vec<usize> = (0..200)
        .map(|at| rig.ask(ms(at * 50), Ask { tenant: "quiet", ..Ask::default() }))
        .collect();
    rig.run();
    let answered =
        quiet.iter().filter(|at| rig.seen[**at].outcome == Some(Outcome::Answered(200))).count();
    expect_eq("requests of the quiet tenant that were answered", 200, answered);
    let slowest = quiet
        .iter()
        .map(|at| rig.seen[*at].ended - rig.seen[*at].arrived)
        .max()
        .unwrap_or_default();
    expect(
        "the slowest of them",
        slowest < ms(300),
        "a place soon, and an answer",
        format!("{slowest:?}"),
    );
    let all = rig.answered();
    expect("work that was done", all >= 780, "as much as can be: 80 a second", all);
}
