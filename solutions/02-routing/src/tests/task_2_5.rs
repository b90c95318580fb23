//! The proxy's rules, each for itself.

use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use routing::{Ending, EndpointId, RequestKey};
use testbed::{expect, expect_close, expect_eq, rng};

use super::rig::ms;
use crate::fair_queue::retry_after;
use crate::{BudgetRules, FairQueue, HedgeDelay, OutlierRules, Outliers, Pushed, RetryBudget};

const S: Duration = Duration::from_secs(1);

fn withdrawn(budget: &mut RetryBudget, now: Duration) -> u32 {
    (0..100_000).take_while(|_| budget.withdraw(now)).count() as u32
}

#[test]
fn task_2_5_a_retry_budget_grows_with_requests() {
    let rules = BudgetRules { ratio: 0.25, min_per_s: 20.0, window: S };
    let mut budget = RetryBudget::new(rules);
    expect_eq("at first: what one second brings in", 20, withdrawn(&mut budget, Duration::ZERO));
    for _ in 0..40 {
        budget.deposit();
    }
    expect_eq("40 requests, ratio 0.25", 10, withdrawn(&mut budget, Duration::ZERO));
    for _ in 0..100_000 {
        budget.deposit();
    }
    let holds = budget.tokens();
    expect("100,000 requests: tokens", holds <= rules.most(), rules.most(), holds);
    let most = rules.most() as u32;
    expect_eq(
        "100,000 requests: no more than it holds",
        most,
        withdrawn(&mut budget, Duration::ZERO),
    );
    for _ in 0..3 {
        budget.deposit();
    }
    expect("three quarters of a retry", !budget.withdraw(Duration::ZERO), "none", "one");
    budget.deposit();
    expect("four quarters", budget.withdraw(Duration::ZERO), "one", "none");
}

#[test]
fn task_2_5_a_retry_budget_grows_with_time_but_not_without_end() {
    let rules = BudgetRules { ratio: 0.2, min_per_s: 4.0, window: 5 * S };
    let mut budget = RetryBudget::new(rules);
    withdrawn(&mut budget, Duration::ZERO);
    expect_eq("after 2 s, at 4 a second", 8, withdrawn(&mut budget, 2 * S));
    expect_eq("again at the same time", 0, withdrawn(&mut budget, 2 * S));
    expect_eq("a quarter of a second later", 1, withdrawn(&mut budget, ms(2250)));
    // Asked in between: time must not be counted twice, nor lost.
    for at in 0..100 {
        let granted = budget.withdraw(ms(2250 + at));
        expect("within 100 ms", !granted, "none of 4 a second", "one");
    }
    expect_eq("a whole second later", 4, withdrawn(&mut budget, ms(3250)));
    expect_eq("an hour later: what it holds", 40, withdrawn(&mut budget, 3600 * S));
}

#[test]
fn task_2_5_the_hedge_delay_is_a_quantile_and_unknown_at_first() {
    let mut rng = rng("times");
    let mut delay = HedgeDelay::new(0.95);
    for at in 0..HedgeDelay::ENOUGH {
        expect_eq(format!("after {at} first bytes"), None, delay.delay());
        delay.observe(ms(100));
    }
    expect_eq("after enough equal ones", Some(ms(100)), delay.delay());

    let mut times: Vec<u64> = (1..=HedgeDelay::WINDOW as u64).collect();
    times.shuffle(&mut rng);
    let mut delay = HedgeDelay::new(0.95);
    for time in 0..10 * HedgeDelay::WINDOW as u64 {
        delay.observe(ms(100_000 + time));
    }
    times.iter().for_each(|time| delay.observe(ms(*time)));
    // 0.95 x 256 = 243.2: the 244th in order is the first that 95 % do not exceed.
    expect_eq(
        "the times from 1 to 256 ms, and nothing of what was before",
        Some(ms(244)),
        delay.delay(),
    );

    let mut half = HedgeDelay::new(0.5);
    times.iter().for_each(|time| half.observe(ms(*time)));
    expect_eq("the median of the same", Some(ms(128)), half.delay());
}

fn outliers(ready: u32, rules: OutlierRules) -> Outliers {
    let mut outliers = Outliers::new(rules);
    let ids: Vec<EndpointId> = (0..ready).map(EndpointId).collect();
    outliers.set_ready(&ids, Duration::ZERO);
    outliers
}

fn observe(outliers: &mut Outliers, endpoint: u32, ending: Ending, count: u32, now: Duration) {
    for _ in 0..count {
        outliers.observe(EndpointId(endpoint), ending, now);
    }
}

#[test]
fn task_2_5_failures_in_a_row_eject_and_an_answer_between_does_not() {
    let rules = OutlierRules::default();
    for failure in [Ending::Failed, Ending::TimedOut] {
        let mut known = outliers(4, rules);
        for _ in 0..10 {
            observe(&mut known, 0, failure, rules.consecutive_failures - 1, S);
            observe(&mut known, 0, Ending::Answered, 1, S);
        }
        let context = format!("4 times {failure:?}, an answer, and again, 10 times");
        expect_eq(context, 0, known.ejected(S));
        observe(&mut known, 0, failure, rules.consecutive_failures, S);
        let context = format!("5 times {failure:?}");
        expect(context, known.is_ejected(EndpointId(0), S), "ejected", "not ejected");
        expect_eq("ejections", 1, known.ejections());
        expect("another endpoint", !known.is_ejected(EndpointId(1), S), "not ejected", "ejected");
    }
}

#[test]
fn task_2_5_ten_client_errors_in_a_row_never_open_a_breaker() {
    let mut known = outliers(2, OutlierRules::default());
    for ending in [Ending::ClientError, Ending::Refused, Ending::Cancelled] {
        observe(&mut known, 0, ending, 1000, S);
        expect_eq(format!("1000 times {ending:?}: ejected"), 0, known.ejected(S));
    }
    observe(&mut known, 0, Ending::Failed, 4, S);
    observe(&mut known, 0, Ending::ClientError, 10, S);
    observe(&mut known, 0, Ending::Failed, 1, S);
    let context = "4 failures, 10 client errors, another failure";
    expect(context, known.is_ejected(EndpointId(0), S), "5 in a row: ejected", "not ejected");
}

#[test]
fn task_2_5_ejections_grow_until_the_endpoint_answers() {
    let rules = OutlierRules {
        consecutive_failures: 3,
        base_ejection_time: 10 * S,
        max_ejection_time: 25 * S,
        max_ejected: 1.0,
    };
    let mut known = outliers(2, rules);
    let mut now = S;
    observe(&mut known, 0, Ending::Failed, 3, now);
    // Once more in a row each time, by one failure alone: it is on probation. The last one is cut by the longest.
    for (ejection, seconds) in [10, 20, 25, 25].into_iter().enumerate() {
        let (before, after) = (now + seconds * S - ms(1), now + seconds * S);
        let context = format!("ejection {}, just before {seconds} s", ejection + 1);
        expect(context, known.is_ejected(EndpointId(0), before), "ejected", "not ejected");
        // What it had before its ejection still fails: that is old news.
        observe(&mut known, 0, Ending::Failed, 9, before);
        observe(&mut known, 0, Ending::Answered, 1, before);
        let context = format!("ejection {}, after {seconds} s", ejection + 1);
        expect(context, !known.is_ejected(EndpointId(0), after), "over", "ejected");
        expect_eq("ejections", ejection as u64 + 1, known.ejections());
        now = after;
        observe(&mut known, 0, Ending::Failed, 1, now);
    }
    now += 25 * S;
    observe(&mut known, 0, Ending::Answered, 1, now);
    observe(&mut known, 0, Ending::Failed, 2, now);
    expect("after an answer, 2 failures", known.ejected(now) == 0, "nobody is ejected", "it is");
    observe(&mut known, 0, Ending::Failed, 1, now);
    let back = !known.is_ejected(EndpointId(0), now + 10 * S);
    expect("after an answer, the next ejection", back, "as short as the first", "longer");
}

#[test]
fn task_2_5_not_all_are_ejected_at_once() {
    for (ready, share, most) in [(10, 0.3, 3), (10, 0.5, 5), (3, 0.1, 1), (2, 0.1, 1), (1, 0.5, 0)]
    {
        let mut known =
            outliers(ready, OutlierRules { max_ejected: share, ..OutlierRules::default() });
        for endpoint in 0..ready {
            observe(&mut known, endpoint, Ending::Failed, 20, S);
        }
        let context = format!("{ready} endpoints that all fail, at most {share} of them ejected");
        expect_eq(context, most, known.ejected(S));
    }
    let mut known = outliers(2, OutlierRules::default());
    observe(&mut known, 0, Ending::Failed, 5, S);
    observe(&mut known, 1, Ending::Failed, 5, S);
    observe(&mut known, 1, Ending::Failed, 1, 7 * S);
    let next = known.is_ejected(EndpointId(1), 7 * S);
    expect("6 failures, once the other one is back", next, "ejected", "not ejected");
}

/// Serves everybody in the queue, and returns how many tokens of each tenant were among the first `tokens`.
fn served(
    queue: &mut FairQueue,
    costs: &[(&'static str, u32)],
    tokens: u32,
) -> Vec<(&'static str, u32)> {
    let mut got: Vec<(&'static str, u32)> = Vec::new();
    let mut sum = 0;
    while sum < tokens {
        let Some(key) = queue.pop() else { break };
        let (tenant, cost) = costs[key.0 as usize];
        match got.iter_mut().find(|(name, _)| *name == tenant) {
            Some((_, count)) => *count += cost,
            None => got.push((tenant, cost)),
        }
        sum += cost;
    }
    got.sort_unstable();
    got
}

#[test]
fn task_2_5_tenants_get_the_same_tokens_whatever_they_send() {
    let mut rng = rng("tenants");
    // One sends many small requests, one few large ones, one a bit of both.
    let mut costs: Vec<(&'static str, u32)> = Vec::new();
    costs.extend((0..2000).map(|_| ("many", rng.random_range(50..150))));
    costs.extend((0..60).map(|_| ("large", rng.random_range(3000..5000))));
    costs.extend((0..300).map(|at| ("mixed", if at % 10 == 0 { 4000 } else { 200 })));
    costs.shuffle(&mut rng);
    let mut queue = FairQueue::new(costs.len());
    for (key, (tenant, cost)) in costs.iter().enumerate() {
        expect_eq(
            "room in the queue",
            Pushed::Waits,
            queue.push(tenant, RequestKey(key as u32), *cost),
        );
    }
    let got = served(&mut queue, &costs, 300_000);
    expect_eq("tenants served", 3, got.len());
    for (tenant, tokens) in got {
        let context = format!("tokens of {tenant}, of the first 300,000");
        expect_close(context, 100_000.0, f64::from(tokens), 0.08);
    }
}

#[test]
fn task_2_5_one_tenants_requests_stay_in_their_order() {
    let mut queue = FairQueue::new(100);
    for key in 0..20 {
        queue.push("a", RequestKey(key), 100 + key);
    }
    let order: Vec<u32> = std::iter::from_fn(|| queue.pop()).map(|key| key.0).collect();
    expect_eq("first come, first served within a tenant", (0..20).collect::<Vec<u32>>(), order);
}

#[test]
fn task_2_5_who_comes_later_gets_a_share_from_then_on_and_no_arrears() {
    let mut costs: Vec<(&'static str, u32)> = vec![("early", 100); 1000];
    let mut queue = FairQueue::new(4000);
    for key in 0..1000 {
        queue.push("early", RequestKey(key), 100);
    }
    served(&mut queue, &costs, 50_000);
    for key in 1000..2000 {
        costs.push(("late", 100));
        queue.push("late", RequestKey(key), 100);
    }
    let got = served(&mut queue, &costs, 20_000);
    for tenant in ["early", "late"] {
        let tokens = got.iter().find(|(name, _)| *name == tenant).map_or(0, |(_, tokens)| *tokens);
        let context = format!("tokens of {tenant}, of the 20,000 after the late one came");
        expect_close(context, 10_000.0, f64::from(tokens), 0.05);
    }
}

#[test]
fn task_2_5_who_sends_one_request_at_a_time_is_not_always_first() {
    let mut queue = FairQueue::new(1000);
    for key in 0..500 {
        queue.push("many", RequestKey(key), 100);
    }
    // It sends the next large request as soon as the one before was served.
    let mut next = 1000;
    queue.push("one at a time", RequestKey(next), 1000);
    let (mut large, mut small) = (0_u32, 0_u32);
    while small < 200 && large < 1000 {
        let Some(key) = queue.pop() else { break };
        if key.0 >= 1000 {
            large += 1;
            next += 1;
            queue.push("one at a time", RequestKey(next), 1000);
        } else {
            small += 1;
        }
    }
    let saw = format!("{large} of 1000 tokens beside {small} of 100");
    expect(
        "one at a time",
        (18..=22).contains(&large),
        "as many tokens as the other: 20 of 1000",
        saw,
    );
}

#[test]
fn task_2_5_whoever_fills_the_queue_has_to_go() {
    let mut queue = FairQueue::new(10);
    for key in 0..10 {
        queue.push("flood", RequestKey(key), 100);
    }
    expect_eq(
        "the queue is full, and the flood goes on",
        Pushed::Full,
        queue.push("flood", RequestKey(10), 100),
    );
    // Half of the places for each, taken from the latest.
    for key in 0..5 {
        let pushed = queue.push("quiet", RequestKey(20 + key), 100);
        expect_eq(
            format!("request {key} of another"),
            Pushed::Instead(RequestKey(9 - key)),
            pushed,
        );
    }
    expect_eq("both have five", Pushed::Full, queue.push("quiet", RequestKey(25), 100));
    expect_eq(
        "a third one",
        true,
        matches!(queue.push("third", RequestKey(30), 100), Pushed::Instead(_)),
    );
    expect_eq("places", 10, queue.len());
    expect_close(
        "100 wait, 20 a second are served",
        5.0,
        retry_after(100, 20.0).as_secs_f64(),
        0.01,
    );
}
