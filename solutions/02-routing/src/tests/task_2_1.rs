//! Checks of task 2.1, look at the load.

use fastrand::Rng;
use rand::Rng as _;
use routing::{EndpointId, EndpointView};
use testbed::{expect, expect_eq, rng, seed};

use crate::least_request::least_request;

/// Endpoints with these ids and requests in flight.
fn endpoints(of: &[(u32, u32)]) -> Vec<EndpointView> {
    let view = |(id, in_flight): &(u32, u32)| EndpointView {
        in_flight: *in_flight,
        ..EndpointView::unknown(EndpointId(*id))
    };
    of.iter().map(view).collect()
}

#[test]
fn task_2_1_chooses_the_fewest_in_flight() {
    let mut random = rng("fewest");
    for _ in 0..100 {
        let loads: Vec<u32> =
            (0..random.random_range(2..12)).map(|_| random.random_range(0..50)).collect();
        let all = endpoints(&loads.iter().map(|load| (0, *load)).collect::<Vec<_>>());
        let chosen = least_request(&all, &mut Rng::with_seed(seed()));
        let least = loads.iter().min();
        expect_eq(
            format!("in flight: {loads:?}"),
            least,
            chosen.and_then(|index| loads.get(index)),
        );
    }
}

#[test]
fn task_2_1_answers_with_a_place_and_not_with_an_id() {
    let all = endpoints(&[(7, 5), (9, 1), (12, 3)]);
    let chosen = least_request(&all, &mut Rng::with_seed(seed()));
    expect_eq("endpoints 7, 9 and 12 have 5, 1 and 3 in flight", Some(1), chosen);
}

#[test]
fn task_2_1_gives_nobody_where_nobody_is_left() {
    let chosen = least_request(&[], &mut Rng::with_seed(seed()));
    expect_eq("no endpoint", None, chosen);
}

#[test]
fn task_2_1_shares_ties_among_all_that_are_best() {
    let all = endpoints(&[(0, 2), (1, 0), (2, 0), (3, 0), (4, 1)]);
    let mut random = Rng::with_seed(seed());
    let mut got = [0u32; 5];
    for _ in 0..3_000 {
        if let Some(chosen) = least_request(&all, &mut random) {
            got[chosen] += 1;
        }
    }
    let fair = got[1..4].iter().all(|count| (850..=1_150).contains(count));
    expect(
        "in flight: 2, 0, 0, 0, 1; asked 3000 times",
        fair && got[0] + got[4] == 0,
        "about 1000 choices for each of the three that are idle",
        format!("{got:?}"),
    );
}
