//! Checks of task 2.4: who gets the canary, and what is copied to a shadow.

use testbed::{expect, expect_eq, rng, seed};

use crate::shadow::Shadow;
use crate::split::{Assignment, Share, Split, Version, assign, position};

const KEYS: usize = 20_000;

fn split(experiment: &str, percent: u16) -> Split {
    let canary = Share::percent(percent);
    Split { experiment: experiment.to_owned(), canary, overrides: true }
}

/// Names as an application makes them: counted upwards from somewhere.
fn sessions() -> impl Iterator<Item = String> {
    let first = seed() % 1_000_000;
    (0..KEYS).map(move |number| format!("user-{}", first + number as u64))
}

fn has_canary(split: &Split, session: &str) -> bool {
    assign(split, Some(session), 0, None).version == Version::Canary
}

/// Fails unless `count` is what chance gives: `expected`, and at most five standard deviations beside it.
#[track_caller]
fn expect_about(context: &str, expected: f64, count: usize) {
    let far = 5.0 * expected.sqrt();
    let holds = (count as f64 - expected).abs() <= far;
    expect(context, holds, format!("{expected:.0}, give or take {far:.0}"), count);
}

#[test]
fn task_2_4_puts_a_key_where_everybody_else_does() {
    // printf 'pricing\0ann' | sha256sum
    let cases = [
        ("pricing", "ann", 0x7107_a691_5934_8dab),
        ("pricing", "", 0x0359_e492_fff7_a4bc),
        ("p99", "user-4711", 0x2a3b_6129_17c6_f511),
    ];
    for (experiment, key, expected) in cases {
        let seen = position(experiment, key.as_bytes());
        expect_eq(format!("experiment {experiment}, key `{key}`: its position"), expected, seen);
    }
}

#[test]
fn task_2_4_gives_the_canary_its_share() {
    for percent in [1, 10, 50] {
        let split = split("even", percent);
        let count = sessions().filter(|session| has_canary(&split, session)).count();
        let expected = KEYS as f64 * split.canary.part();
        expect_about(&format!("{KEYS} sessions at {percent} %: with the canary"), expected, count);
        let without =
            |request: &u64| assign(&split, None, *request, None).version == Version::Canary;
        let count = (0..KEYS as u64).filter(without).count();
        let context = format!("{KEYS} requests without a session at {percent} %: with the canary");
        expect_about(&context, expected, count);
    }
    for (percent, expected) in [(0, 0), (100, KEYS)] {
        let split = split("even", percent);
        let count = sessions().filter(|session| has_canary(&split, session)).count();
        expect_eq(format!("{KEYS} sessions at {percent} %: with the canary"), expected, count);
    }
}

#[test]
fn task_2_4_keeps_a_session_where_it_is() {
    let split = split("sticky", 50);
    for session in sessions().take(200) {
        let first = assign(&split, Some(&session), 0, None);
        for request in [1, 2, 77, u64::MAX] {
            let again = assign(&split, Some(&session), request, None);
            expect_eq(format!("request {request} of {session}"), first, again);
        }
    }
}

#[test]
fn task_2_4_moves_nobody_back_when_the_share_grows() {
    let steps = [1, 5, 25, 50, 100].map(|percent| split("growing", percent));
    for session in sessions().take(5_000) {
        let path = steps.each_ref().map(|step| has_canary(step, &session));
        let context = format!("{session} at 1, 5, 25, 50 and 100 %: has the canary");
        expect(context, path.is_sorted(), "never first yes, then no", format!("{path:?}"));
    }
}

#[test]
fn task_2_4_keeps_experiments_apart() {
    let (one, two) = (split("fonts", 10), split("prompts", 10));
    let both = sessions().filter(|session| has_canary(&one, session) && has_canary(&two, session));
    let context = format!("{KEYS} sessions, two experiments of 10 % each: in both canaries");
    expect_about(&context, KEYS as f64 / 100.0, both.count());
}

#[test]
fn task_2_4_grants_wishes_and_does_not_count_them() {
    use Version::{Canary, Stable};
    let open = split("wishes", 10);
    let shut = Split { overrides: false, ..open.clone() };
    let rolled_back = Split { canary: Share::NONE, ..open.clone() };
    for session in sessions().take(200) {
        let by = |split: &Split, wish| assign(split, Some(&session), 0, wish);
        let chance = by(&open, None);
        expect(format!("{session}, no wish"), chance.counts, "it counts", "it does not");
        for wish in [Stable, Canary] {
            let context = format!("{session}, who wishes {}", wish.as_str());
            let granted = Assignment { version: wish, counts: false };
            expect_eq(&context, granted, by(&open, Some(wish)));
            expect_eq(format!("{context}, where nobody may"), chance, by(&shut, Some(wish)));
        }
        let context = format!("{session}, who wishes a canary that was rolled back");
        let version = by(&rolled_back, Some(Canary)).version;
        expect_eq(context, Stable, version);
    }
}

#[test]
fn task_2_4_copies_a_part_of_what_may_be_repeated() {
    let mut shadow = Shadow::new("copies", Share::percent(10), usize::MAX);
    let copied = |shadow: &mut Shadow, repeatable| {
        (0..KEYS as u64).filter(|request| shadow.mirror(*request, repeatable).is_some()).count()
    };
    let count = copied(&mut shadow, true);
    expect_about(&format!("{KEYS} requests, 10 % copied: copies"), KEYS as f64 / 10.0, count);
    let context = format!("{KEYS} requests that store something or run a tool: copies");
    expect_eq(context, 0, copied(&mut shadow, false));
    let mut none = Shadow::new("copies", Share::NONE, usize::MAX);
    expect_eq("a share of nothing: copies", 0, copied(&mut none, true));
}

#[test]
fn task_2_4_never_sends_more_copies_than_may_run() {
    let mut shadow = Shadow::new("bounded", Share::ALL, 4);
    let mut under_way = Vec::new();
    let mut rng = rng("ends of copies");
    for request in 0..2_000 {
        let copy = shadow.mirror(request, true);
        let had_room = under_way.len() < 4;
        let context =
            format!("request {request}, {} copies of at most 4 under way: copied", under_way.len());
        expect_eq(context, had_room, copy.is_some());
        under_way.extend(copy);
        expect_eq("copies under way", under_way.len(), shadow.in_flight());
        if !under_way.is_empty() && rand::Rng::random_bool(&mut rng, 0.4) {
            shadow.ended(under_way.swap_remove(0));
        }
    }
}

#[test]
fn task_2_4_copies_other_requests_than_those_of_the_canary() {
    let split = split("copies", 10);
    let mut shadow = Shadow::new("copies", Share::percent(10), usize::MAX);
    let in_canary = |request: &u64| assign(&split, None, *request, None).version == Version::Canary;
    let mut both = 0;
    for request in (0..KEYS as u64).filter(in_canary) {
        both += usize::from(shadow.mirror(request, true).is_some());
    }
    expect_about("of a canary of 10 %: copied, at 10 %", KEYS as f64 / 100.0, both);
}
