//! Checks of task 2.4: evidence, and what is decided by it. Every rollout is asked after every single request.

use std::time::Duration;

use testbed::{expect, expect_close, expect_eq, note};

use super::canaries::{
    Arm, Course, GAP, SLOW, STABLE, begin, endless, generator, ms, plan, request, run,
};
use crate::evidence::{Bet, RATIOS};
use crate::rollout::{
    Decision, Guard, Objective, Observation, Plan, Rollout, Seen, State, Tally, Wait,
};
use crate::split::{Share, Version};

const QUICK: Seen = Seen::Answered(ms(100));

/// Gives a rollout `count` requests of one version, that end as `seen` at `at`.
fn give(rollout: &mut Rollout, count: usize, version: Version, seen: Seen, at: Duration) {
    let share = rollout.share();
    let one = Observation { version, share, counts: true, shadow: false, session: None, seen, at };
    (0..count).for_each(|_| rollout.observe(&one));
}

/// Gives both versions so many quick answers, the stable version as many more as it has more traffic.
fn quick(rollout: &mut Rollout, canary: usize, at: Duration) {
    let part = rollout.share().part();
    let stable = (canary as f64 * (1.0 - part) / part) as usize;
    give(rollout, stable, Version::Stable, QUICK, at);
    give(rollout, canary, Version::Canary, QUICK, at);
}

#[test]
fn task_2_4_bets_at_a_fair_price() {
    let after = |heads, null| {
        let mut bet = Bet::default();
        bet.observe(heads, null);
        bet.log_evidence().exp()
    };
    let wins: f64 = RATIOS.iter().map(|ratio| 2.0 * ratio / (ratio + 1.0)).sum::<f64>() / 6.0;
    expect_close("null 0.5, heads: the money", wins, after(true, 0.5), 1e-9);
    for null in [0.01, 0.05, 0.25, 0.5, 0.9] {
        let (heads, tails) = (after(true, null), after(false, null));
        let mean = null * heads + (1.0 - null) * tails;
        expect_close(format!("null {null}: the money after one coin, on average"), 1.0, mean, 1e-9);
        let saw = format!("{heads:.4} and {tails:.4}");
        let grows = heads > 1.0 && tails < 1.0;
        expect(
            format!("null {null}: after heads, after tails"),
            grows,
            "more and less than 1",
            saw,
        );
    }
}

#[test]
fn task_2_4_keeps_its_books_however_much_it_wins() {
    for (heads, expected) in [(true, "huge"), (false, "tiny")] {
        let mut bet = Bet::default();
        (0..50_000).for_each(|_| bet.observe(heads, 0.5));
        let evidence = bet.log_evidence();
        let holds = evidence.is_finite() && (evidence > 1_000.0) == heads;
        expect(
            format!("50,000 times heads = {heads}"),
            holds,
            format!("{expected}, and finite"),
            evidence,
        );
        expect_eq("whether it rejects", heads, bet.rejects(0.05));
    }
}

#[test]
fn task_2_4_rarely_cries_wolf_over_a_coin() {
    const RUNS: u64 = 2_000;
    for null in [0.5, 0.05] {
        let mut alarms = 0;
        for case in 0..RUNS {
            let mut rng = generator("fair coins", case);
            let mut bet = Bet::default();
            let cries = (0..300).any(|_| {
                bet.observe(rng.f64() < null, null);
                bet.rejects(0.05)
            });
            alarms += u64::from(cries);
        }
        let context = format!("{RUNS} times 300 coins with heads {null}, asked after each: alarms");
        // At most 100 on average; chance adds no more than 40 to that.
        expect(context, alarms <= 140, "at most 5 %: 100, give or take 40", alarms);
        note(format!("heads {null}: {alarms} false alarms of {RUNS} at alpha 0.05"));
    }
}

/// So many rollouts of a canary.
fn rollouts(count: u64, plan: &Plan, canary: Arm, most: u64) -> Vec<Course> {
    let purpose = format!("canary {canary:?}");
    (0..count).map(|case| run(plan.clone(), canary, most, &mut generator(&purpose, case))).collect()
}

fn rolled_back(courses: &[Course]) -> usize {
    courses.iter().filter(|course| course.rolled_back().is_some()).count()
}

#[test]
fn task_2_4_seldom_rolls_back_a_canary_that_is_no_worse() {
    const RUNS: u64 = 400;
    for percent in [50, 10] {
        let courses = rollouts(RUNS, &endless(percent), STABLE, 2_500);
        let count = rolled_back(&courses);
        let context =
            format!("{RUNS} canaries at {percent} % that are like the stable version: rolled back");
        // At most 20 on average. Whoever peeks with a test for one look rolls back a quarter of them.
        expect(context, count <= 35, "at most 5 %: 20, give or take 15", count);
    }
}

/// The number of requests within which 95 % of the rollouts were rolled back, for the right reason.
#[track_caller]
fn caught(what: &str, courses: &[Course], guard: Guard) -> u64 {
    let right = courses.iter().filter(|course| course.rolled_back() == Some(guard)).count();
    let context = format!("{} canaries {what}: rolled back for {guard:?}", courses.len());
    expect(context, right * 100 >= courses.len() * 95, "95 % or more", right);
    let mut requests: Vec<u64> = courses.iter().map(|course| course.requests).collect();
    requests.sort_unstable();
    requests[courses.len() * 95 / 100]
}

#[test]
fn task_2_4_rolls_back_a_canary_that_fails() {
    let failing = Arm { failing: 0.1, ..STABLE };
    for (percent, limit) in [(1, 20_000), (5, 5_000), (50, 1_000)] {
        let courses = rollouts(100, &endless(percent), failing, limit);
        let what = format!("that fail ten times as often, at {percent} %");
        let requests = caught(&what, &courses, Guard::Errors);
        note(format!("{what}: 95 % are caught within {requests} requests"));
    }
}

#[test]
fn task_2_4_rolls_back_a_canary_that_is_slower_only_at_p99() {
    // Its median is the same, and its mean is a third higher.
    let slow = Arm { slow: 0.05, ..STABLE };
    for (percent, limit) in [(5, 14_000), (25, 5_000), (50, 4_000)] {
        let courses = rollouts(100, &endless(percent), slow, limit);
        let what = format!("with 5 % instead of 1 % slow answers, at {percent} %");
        let requests = caught(&what, &courses, Guard::Slow);
        note(format!("{what}: 95 % are caught within {requests} requests"));
    }
}

#[test]
fn task_2_4_harms_few_when_a_canary_is_bad() {
    let broken = Arm { failing: 0.5, ..STABLE };
    let courses = rollouts(100, &plan(&[1, 5, 25, 50]), broken, 20_000);
    caught("of which every second request fails", &courses, Guard::Errors);
    let mut harmed: Vec<u64> = courses.iter().map(|course| course.canary).collect();
    harmed.sort_unstable();
    let saw = harmed[95];
    expect("in 95 of 100 rollouts: requests that met the canary", saw <= 30, "at most 30", saw);
}

#[test]
fn task_2_4_takes_a_good_canary_all_the_way() {
    let steps = [1, 5, 25, 50];
    let careful = Plan { alpha: 0.001, ..plan(&steps) };
    let courses = rollouts(12, &careful, STABLE, 60_000);
    let mut expected: Vec<Decision> =
        steps[1..].iter().map(|percent| Decision::Advance(Share::percent(*percent))).collect();
    expected.push(Decision::Promote);
    let all_the_way = courses.iter().filter(|course| course.decisions == expected).count();
    let context = "12 good canaries at alpha 0.001: went 5 %, 25 %, 50 %, all";
    expect(context, all_the_way >= 11, "at least 11", all_the_way);
    let promoted = courses.iter().filter(|course| course.state == State::Promoted);
    let most = promoted.map(|course| course.requests).max();
    note(format!("a good canary is promoted within {} requests", most.unwrap_or(0)));
}

#[test]
fn task_2_4_takes_no_step_without_proof() {
    // Both versions miss the objective: no worse than stable, and not good either.
    let objective = Objective { within: SLOW, misses: 0.01, doubt: 0.05 };
    let strict = Plan { objective, ..plan(&[10, 50]) };
    let courses = rollouts(200, &strict, STABLE, 3_000);
    let moved = courses
        .iter()
        .filter(|course| course.decisions.contains(&Decision::Advance(Share::percent(50))));
    let count = moved.count();
    let context = "200 canaries that miss the objective twice as often as promised: took a step";
    // At a rate of misses that is just the limit 5 % would.
    expect(context, count <= 10, "at most 10", count);
    let mut rollout = begin(plan(&[50]));
    quick(&mut rollout, 20, ms(1));
    let decided = rollout.decide(ms(2));
    expect_eq("20 good answers, 50 are needed", Decision::Stay(Wait::TooFew), decided);
    let mut rollout = begin(Plan { min_requests: 10, ..plan(&[50]) });
    quick(&mut rollout, 20, ms(1));
    let decided = rollout.decide(ms(2));
    let context = "20 good answers, where 10 % may miss and 10 are needed: chance gives that often";
    expect_eq(context, Decision::Stay(Wait::Objective), decided);
    quick(&mut rollout, 60, ms(3));
    expect_eq("80 good answers", Decision::Promote, rollout.decide(ms(4)));
}

#[test]
fn task_2_4_holds_each_step_for_a_while() {
    let mut rollout = begin(Plan { hold: ms(1_000), ..plan(&[10, 50]) });
    quick(&mut rollout, 200, ms(900));
    let decided = rollout.step(ms(999));
    expect_eq("200 good answers in 999 ms of 1,000", Decision::Stay(Wait::Hold), decided);
    let half = Share::percent(50);
    expect_eq("after 1,000 ms", Decision::Advance(half), rollout.step(ms(1_000)));
    expect_eq("the share", half, rollout.share());
    expect_eq("what is known in the new step", Tally::default(), rollout.tally(Version::Canary));
    quick(&mut rollout, 200, ms(1_900));
    expect_eq("999 ms later", Decision::Stay(Wait::Hold), rollout.step(ms(1_999)));
    expect_eq("1,000 ms later", Decision::Promote, rollout.step(ms(2_000)));
    expect_eq("and then", Decision::Stay(Wait::Finished), rollout.step(ms(9_000)));
}

#[test]
fn task_2_4_does_not_take_silence_for_success() {
    for silent in [Version::Stable, Version::Canary] {
        let mut rollout = begin(Plan { stale_after: ms(500), ..plan(&[50]) });
        quick(&mut rollout, 200, ms(100));
        let other = if silent == Version::Stable { Version::Canary } else { Version::Stable };
        give(&mut rollout, 50, other, QUICK, ms(700));
        let context = format!("no news of {} for 600 ms, where 500 are allowed", silent.as_str());
        expect_eq(context, Decision::Stay(Wait::NoData), rollout.decide(ms(700)));
        give(&mut rollout, 1, silent, QUICK, ms(710));
        expect_eq("when it is back", Decision::Promote, rollout.decide(ms(711)));
    }
    let mut rollout = begin(Plan { stale_after: ms(500), min_requests: 0, ..plan(&[50]) });
    let decided = rollout.step(ms(501));
    expect_eq("nobody ever came", Decision::Stay(Wait::NoData), decided);
    // Evidence does not go stale.
    give(&mut rollout, 100, Version::Canary, Seen::Failed, ms(600));
    let back = Decision::RollBack(Guard::Errors);
    expect_eq("100 failures, and then silence", back, rollout.decide(ms(9_000)));
}

#[test]
fn task_2_4_counts_only_what_chance_sent_in_this_step() {
    let fresh = begin(endless(10));
    let share = fresh.share();
    let seen = Seen::Failed;
    let one = Observation {
        version: Version::Canary,
        share,
        counts: true,
        shadow: false,
        session: None,
        seen,
        at: GAP,
    };
    let ignored = [
        ("copies", Observation { shadow: true, ..one }),
        ("requests that somebody sent there", Observation { counts: false, ..one }),
        ("requests of an earlier step", Observation { share: Share::percent(1), ..one }),
    ];
    for (what, observation) in ignored {
        let mut rollout = fresh.clone();
        (0..100).for_each(|_| rollout.observe(&observation));
        let seen = (rollout.tally(Version::Canary), rollout.p_value(Guard::Errors));
        expect_eq(format!("100 failures of {what}: tally, p"), (Tally::default(), 1.0), seen);
    }
    let mut rollout = fresh.clone();
    (0..100).for_each(|_| rollout.observe(&one));
    let p = rollout.p_value(Guard::Errors);
    expect("100 failures that count: p", p < 1e-6, "less than a millionth", p);
    let back = Decision::RollBack(Guard::Errors);
    expect_eq("and the decision", back, rollout.step(GAP));
    expect_eq("then the canary gets", Share::NONE, rollout.share());
    let tally = rollout.tally(Version::Canary);
    rollout.observe(&Observation { share: Share::NONE, ..one });
    expect_eq("what is counted after the end", tally, rollout.tally(Version::Canary));
}

#[test]
fn task_2_4_lets_a_session_speak_once() {
    let mut rollout = begin(endless(50));
    let share = rollout.share();
    let of = |session, seen| {
        let version = Version::Canary;
        let session = Some(session);
        Observation { version, share, counts: true, shadow: false, session, seen, at: GAP }
    };
    for seen in [Seen::Failed, Seen::Answered(SLOW * 2)] {
        (0..100).for_each(|_| rollout.observe(&of(4_711, seen)));
    }
    let p = rollout.p_value(Guard::Errors).max(rollout.p_value(Guard::Slow));
    expect("100 failures and 100 slow answers of one session: p", p > 0.5, "more than a half", p);
    let tally = rollout.tally(Version::Canary);
    expect_eq("and all of its requests", 200, tally.requests);
    (0..20).for_each(|session| rollout.observe(&of(session, Seen::Failed)));
    let decided = rollout.decide(GAP);
    expect_eq("20 sessions that failed", Decision::RollBack(Guard::Errors), decided);
    let mut rollout = begin(plan(&[10, 50]));
    let failed = Observation { share: rollout.share(), ..of(4_711, Seen::Failed) };
    rollout.observe(&failed);
    quick(&mut rollout, 200, GAP);
    expect_eq("a new step", Decision::Advance(share), rollout.step(GAP));
    rollout.observe(&Observation { share, ..failed });
    let p = rollout.p_value(Guard::Errors);
    expect(
        "a session that failed in the step before, too: p",
        p < 1.0,
        "less than 1: it speaks again",
        p,
    );
}

#[test]
fn task_2_4_is_not_fooled_by_sessions_that_fail_as_a_whole() {
    let mut back = 0;
    for case in 0..300 {
        let mut rng = generator("broken sessions", case);
        let mut rollout = begin(endless(50));
        for session in 0..200 {
            let Observation { version, seen, .. } = request(&rollout, [STABLE; 2], GAP, &mut rng);
            let seen = if rng.f64() < 0.1 { Seen::Failed } else { seen };
            let share = rollout.share();
            let session = Some(session);
            let one =
                Observation { version, share, counts: true, shadow: false, session, seen, at: GAP };
            for _ in 0..20 {
                rollout.observe(&one);
                rollout.step(GAP);
            }
        }
        back += u32::from(matches!(rollout.state(), State::RolledBack(_)));
    }
    let context =
        "300 canaries like the stable version, one session in ten fails 20 times: rolled back";
    expect(context, back <= 28, "at most 5 %: 15, give or take 13", back);
}

#[test]
fn task_2_4_sees_that_clients_gave_up() {
    let mut rollout = begin(endless(50));
    give(&mut rollout, 100, Version::Canary, Seen::GaveUp(ms(200)), GAP);
    let early = (rollout.tally(Version::Canary).slow, rollout.p_value(Guard::Slow));
    expect_eq("100 clients that left before it was slow: slow ones, p", (0, 1.0), early);
    give(&mut rollout, 60, Version::Stable, QUICK, GAP);
    let p = rollout.p_value(Guard::Errors);
    expect_eq("and errors: p", 1.0, p);
    give(&mut rollout, 100, Version::Canary, Seen::GaveUp(SLOW * 2), GAP);
    let decided = rollout.decide(GAP);
    let context = "100 clients of the canary that left after waiting too long";
    expect_eq(context, Decision::RollBack(Guard::Slow), decided);
}

#[test]
fn task_2_4_blames_no_canary_for_what_hits_both() {
    let outage = Arm { failing: 0.6, slow: 0.5 };
    let mut back = 0;
    for case in 0..100 {
        let mut rng = generator("outages", case);
        let mut rollout = begin(plan(&[10, 50]));
        for number in 1..2_000 {
            let at = GAP * number;
            let arms = if (300..900).contains(&number) { [outage; 2] } else { [STABLE; 2] };
            let observation = request(&rollout, arms, at, &mut rng);
            rollout.observe(&observation);
            let decision = rollout.step(at);
            let context = format!("outage {case} of both versions, request {number}");
            if (300..900).contains(&number)
                && matches!(decision, Decision::Advance(_) | Decision::Promote)
            {
                // A step that was nearly proven may still be taken by the first requests of an outage.
                expect(context, number < 320, "no step forward", format!("{decision:?}"));
            }
        }
        back += u32::from(matches!(rollout.state(), State::RolledBack(_)));
    }
    expect(
        "100 outages of both versions: canaries rolled back",
        back <= 12,
        "at most 5, by chance 12",
        back,
    );
}

#[test]
fn task_2_4_shares_alpha_among_guards_and_steps() {
    let four = begin(plan(&[1, 5, 25, 50])).alpha_of_a_guard();
    expect_close("alpha 0.05, two guards, four steps: for one question", 0.05 / 8.0, four, 1e-9);
    // Enough for a single question, and not for eight: 5 heads in a row at 50 %.
    let evidence = |failures| {
        let mut rollout = begin(Plan { min_requests: u64::MAX, ..plan(&[50, 60, 70, 80]) });
        give(&mut rollout, failures, Version::Canary, Seen::Failed, GAP);
        (rollout.p_value(Guard::Errors), rollout.decide(GAP))
    };
    for failures in 1..20 {
        let (p, decision) = evidence(failures);
        let expected = if p <= four {
            Decision::RollBack(Guard::Errors)
        } else {
            Decision::Stay(Wait::TooFew)
        };
        expect_eq(format!("{failures} failures, all the canary's, p = {p:.4}"), expected, decision);
    }
}
