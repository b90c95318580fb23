//! Checks of task 2.6, Kubernetes-native: replicas from slices.

use std::collections::{BTreeMap, BTreeSet};

use discovery::{Conditions, Event, Family, Slice, SliceEndpoint, SlicePort};
use rand::Rng;
use rand::seq::SliceRandom;
use routing::EndpointId;
use testbed::{expect, expect_eq, rng};

use crate::slices::{EndpointTable, Replica, State, Wanted, fold, in_zone, state};

const READY: Conditions =
    Conditions { ready: Some(true), serving: Some(true), terminating: Some(false) };
const STARTING: Conditions =
    Conditions { ready: Some(false), serving: Some(false), terminating: Some(false) };
const DRAINING: Conditions =
    Conditions { ready: Some(false), serving: Some(true), terminating: Some(true) };
const DYING: Conditions =
    Conditions { ready: Some(false), serving: Some(false), terminating: Some(true) };

fn pod(uid: &str, address: &str, conditions: Conditions) -> SliceEndpoint {
    SliceEndpoint {
        addresses: vec![address.to_owned()],
        conditions,
        pod: Some(uid.to_owned()),
        ..SliceEndpoint::default()
    }
}

fn port(name: &str, number: u16) -> SlicePort {
    SlicePort { name: name.to_owned(), number: Some(number) }
}

fn slice(name: &str, endpoints: Vec<SliceEndpoint>) -> Slice {
    let v6 = endpoints.iter().any(|endpoint| endpoint.addresses[0].contains(':'));
    Slice {
        name: name.to_owned(),
        family: if v6 { Family::Ipv6 } else { Family::Ipv4 },
        ports: vec![port("http", 8000)],
        endpoints,
    }
}

fn wanted() -> Wanted {
    Wanted { port: Some("http".to_owned()), family: Family::Ipv4 }
}

/// A table that was told a complete list.
fn table(slices: Vec<Slice>) -> EndpointTable {
    let mut table = EndpointTable::new(wanted());
    list(&mut table, slices);
    table
}

fn list(table: &mut EndpointTable, slices: Vec<Slice>) {
    table.apply(Event::ListBegins);
    slices.into_iter().for_each(|slice| table.apply(Event::Listed(slice)));
    table.apply(Event::ListEnds);
}

/// Addresses of those who may get a request.
fn ready(table: &EndpointTable) -> Vec<String> {
    let mut ready: Vec<_> = table.ready().map(|each| each.seen.address.to_string()).collect();
    ready.sort();
    ready
}

fn id(table: &EndpointTable, address: &str) -> Option<EndpointId> {
    let mut all = table.replicas().iter();
    all.find(|each| each.seen.address.to_string() == address).map(|each| each.id)
}

#[test]
fn task_2_6_reads_what_nobody_said_as_kubernetes_does() {
    let of = |ready, serving, terminating| state(Conditions { ready, serving, terminating });
    let (yes, no) = (Some(true), Some(false));
    for (context, expected, saw) in [
        ("nothing said", State::Ready, of(None, None, None)),
        ("ready, the rest not said", State::Ready, of(yes, None, None)),
        ("not ready, the rest not said", State::NotReady, of(no, None, None)),
        ("serving but not ready, not terminating", State::NotReady, of(no, yes, no)),
        ("terminating, still serving", State::Draining, of(no, yes, yes)),
        ("terminating, serving not said, not ready", State::Gone, of(no, None, yes)),
        ("terminating, nothing else said", State::Draining, of(None, None, yes)),
        ("terminating, not serving", State::Gone, of(no, no, yes)),
    ] {
        expect_eq(format!("conditions: {context}"), expected, saw);
    }
}

#[test]
fn task_2_6_sends_nothing_to_who_terminates_though_it_calls_itself_ready() {
    let published = Conditions { ready: Some(true), serving: Some(true), terminating: Some(true) };
    expect_eq("ready, serving and terminating", State::Draining, state(published));
    let table =
        table(vec![slice("a", vec![pod("1", "10.0.0.1", READY), pod("2", "10.0.0.2", published)])]);
    expect_eq("one of two terminates: who is ready", vec!["10.0.0.1:8000"], ready(&table));
    expect_eq("it finishes what it has: replicas", 2, table.replicas().len());
}

#[test]
fn task_2_6_counts_a_replica_once_in_however_many_slices() {
    let both = vec![
        slice("a", vec![pod("1", "10.0.0.1", READY), pod("2", "10.0.0.2", READY)]),
        slice("b", vec![pod("2", "10.0.0.2", READY), pod("3", "10.0.0.3", READY)]),
    ];
    let table = table(both);
    let expected = vec!["10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000"];
    expect_eq("pod 2 is in slices a and b: who is ready", expected, ready(&table));
}

#[test]
fn task_2_6_counts_a_pod_with_two_addresses_once() {
    let v4 = slice("v4", vec![pod("1", "10.0.0.1", READY), pod("2", "10.0.0.2", READY)]);
    let v6 = slice("v6", vec![pod("1", "fd00::1", READY), pod("3", "fd00::3", READY)]);
    for slices in [vec![v4.clone(), v6.clone()], vec![v6, v4]] {
        let names: Vec<&str> = slices.iter().map(|slice| &*slice.name).collect();
        let context = format!("pod 1 has an address of both families; slices {names:?}");
        let expected = vec!["10.0.0.1:8000", "10.0.0.2:8000", "[fd00::3]:8000"];
        expect_eq(format!("{context}, IPv4 wanted"), expected, ready(&table(slices.clone())));
        let found = fold(&slices, &Wanted { family: Family::Ipv6, ..wanted() });
        let mut found: Vec<String> = found.values().map(|seen| seen.address.to_string()).collect();
        found.sort();
        let expected = vec!["10.0.0.2:8000", "[fd00::1]:8000", "[fd00::3]:8000"];
        expect_eq(format!("{context}, IPv6 wanted"), expected, found);
    }
}

#[test]
fn task_2_6_takes_the_port_by_its_name() {
    let mut two = slice("a", vec![pod("1", "10.0.0.1", READY)]);
    two.ports = vec![port("metrics", 9090), port("http", 8001)];
    let mut other = slice("b", vec![pod("2", "10.0.0.2", READY)]);
    other.ports = vec![port("metrics", 9090)];
    let table = table(vec![two.clone(), other]);
    let context = "slice a has the ports metrics and http, slice b only metrics: who is ready";
    expect_eq(context, vec!["10.0.0.1:8001"], ready(&table));
    let every = fold([&two], &Wanted { port: None, ..wanted() });
    expect_eq("every port wanted: replicas of slice a", 2, every.len());
}

#[test]
fn task_2_6_believes_that_a_pod_ends_whatever_an_older_slice_says() {
    for (conditions, name, replicas) in [(DRAINING, "draining", 1), (DYING, "gone", 0)] {
        for order in [["a", "b"], ["b", "a"]] {
            let old = slice(order[0], vec![pod("1", "10.0.0.1", READY)]);
            let new = slice(order[1], vec![pod("1", "10.0.0.1", conditions)]);
            let context = format!("slice {} says ready, slice {} {name}", order[0], order[1]);
            let table = table(vec![old, new]);
            expect_eq(format!("{context}: who is ready"), Vec::<String>::new(), ready(&table));
            expect_eq(format!("{context}: replicas"), replicas, table.replicas().len());
        }
    }
    let both = [
        slice("a", vec![pod("1", "10.0.0.1", STARTING)]),
        slice("b", vec![pod("1", "10.0.0.1", READY)]),
    ];
    let context = "one slice says ready, another one not ready: who is ready";
    expect_eq(context, vec!["10.0.0.1:8000"], ready(&table(both.to_vec())));
}

#[test]
fn task_2_6_does_not_care_in_which_order_slices_come() {
    let mut random = rng("order");
    for case in 0..60 {
        let mut slices = random_slices(&mut random);
        let expected = fold(&slices, &wanted());
        slices.shuffle(&mut random);
        for slice in &mut slices {
            slice.endpoints.shuffle(&mut random);
        }
        let shuffled = fold(&slices, &wanted());
        let repeated = fold(slices.iter().chain(&slices), &wanted());
        expect_eq(format!("case {case}: the same slices in another order"), &expected, &shuffled);
        expect_eq(format!("case {case}: every slice twice"), &expected, &repeated);
    }
}

/// Up to 4 slices over 6 pods, each pod in any number of them, in any state.
fn random_slices(random: &mut rand::rngs::StdRng) -> Vec<Slice> {
    let states = [READY, STARTING, DRAINING, DYING, Conditions::default()];
    let zones = [None, Some("a"), Some("b")];
    let names = ["s", "t", "u", "v"];
    let of = |name: &&str| {
        let v6 = name == &"v";
        let mut endpoints = Vec::new();
        for number in 1..=6 {
            if random.random_bool(0.5) {
                let address =
                    if v6 { format!("fd00::{number}") } else { format!("10.0.0.{number}") };
                let conditions = states[random.random_range(0..states.len())];
                let mut each = pod(&number.to_string(), &address, conditions);
                each.zone = zones[random.random_range(0..3)].map(ToOwned::to_owned);
                each.for_zones = each.zone.iter().cloned().collect();
                endpoints.push(each);
            }
        }
        let mut of = slice(name, endpoints);
        of.family = if v6 { Family::Ipv6 } else { Family::Ipv4 };
        of
    };
    names.iter().map(of).collect()
}

#[test]
fn task_2_6_keeps_an_id_while_a_pod_moves_between_slices() {
    let mut table = table(vec![
        slice("a", vec![pod("1", "10.0.0.1", READY), pod("2", "10.0.0.2", READY)]),
        slice("b", vec![]),
    ]);
    let before = id(&table, "10.0.0.2:8000");
    let away = slice("a", vec![pod("1", "10.0.0.1", READY)]);
    let there = slice("b", vec![pod("2", "10.0.0.2", READY)]);
    // First into the new slice, then out of the old one; and back the other way round.
    table.apply(Event::Applied(there.clone()));
    table.apply(Event::Applied(away.clone()));
    expect_eq("pod 2 in both slices for a while: its id", before, id(&table, "10.0.0.2:8000"));
    table.apply(Event::Applied(slice("b", vec![])));
    expect_eq("pod 2 in no slice: who is ready", vec!["10.0.0.1:8000"], ready(&table));
    table.apply(Event::Applied(there));
    expect_eq("pod 2 in no slice for a moment: its id", before, id(&table, "10.0.0.2:8000"));
}

#[test]
fn task_2_6_gives_another_pod_at_the_same_address_another_id() {
    let mut table = table(vec![slice("a", vec![pod("1", "10.0.0.1", READY)])]);
    let first = id(&table, "10.0.0.1:8000");
    table.apply(Event::Applied(slice("a", vec![pod("2", "10.0.0.1", READY)])));
    let second = id(&table, "10.0.0.1:8000");
    expect("a new pod took the address of the old one", first != second, "another id", "the same");
    expect_eq("one pod at one address: replicas", 1, table.replicas().len());
}

#[test]
fn task_2_6_keeps_what_it_knows_until_a_list_is_complete() {
    let fleet = |count: usize| -> Vec<Slice> {
        let of = |n: usize| {
            slice(&format!("s{n}"), vec![pod(&n.to_string(), &format!("10.0.0.{n}"), READY)])
        };
        (1..=count).map(of).collect()
    };
    let mut table = table(fleet(3));
    let all = ready(&table);
    table.apply(Event::Lost);
    expect_eq("the watch is lost: who is ready", &all, &ready(&table));
    table.apply(Event::ListBegins);
    expect_eq("a list has begun: who is ready", &all, &ready(&table));
    table.apply(Event::Listed(fleet(1)[0].clone()));
    expect_eq("one of three is listed: who is ready", &all, &ready(&table));
    // Cut, and once more from the beginning: this time without the first.
    table.apply(Event::Lost);
    table.apply(Event::ListBegins);
    table.apply(Event::Listed(fleet(2)[1].clone()));
    expect_eq("the list began again: who is ready", &all, &ready(&table));
    table.apply(Event::ListEnds);
    expect_eq("only the second was listed: who is ready", vec!["10.0.0.2:8000"], ready(&table));
}

#[test]
fn task_2_6_tells_an_empty_list_from_no_list() {
    let mut table = EndpointTable::new(wanted());
    expect_eq("nothing told yet: synced", false, table.is_synced());
    table.apply(Event::ListBegins);
    table.apply(Event::Lost);
    expect_eq("a list that did not end: synced", false, table.is_synced());
    list(&mut table, vec![]);
    expect_eq("an empty list: synced", true, table.is_synced());
    list(&mut table, vec![slice("a", vec![pod("1", "10.0.0.1", READY)])]);
    expect_eq("then one pod: who is ready", vec!["10.0.0.1:8000"], ready(&table));
    list(&mut table, vec![]);
    expect_eq("then an empty list: who is ready", Vec::<String>::new(), ready(&table));
}

#[test]
fn task_2_6_follows_a_fleet_through_a_day_of_events() {
    let mut random = rng("day");
    for case in 0..20 {
        let mut table = EndpointTable::new(wanted());
        let mut truth = BTreeMap::<String, Slice>::new();
        let mut uids = BTreeMap::<EndpointId, BTreeSet<String>>::new();
        list(&mut table, vec![]);
        for _ in 0..60 {
            let name = ["a", "b", "c"][random.random_range(0..3)].to_owned();
            match random.random_range(0..6) {
                0 => {
                    truth.remove(&name);
                    table.apply(Event::Deleted(name));
                }
                1 => {
                    table.apply(Event::Lost);
                    table.apply(Event::ListBegins);
                    let half = truth.len() / 2;
                    truth.values().take(half).for_each(|s| table.apply(Event::Listed(s.clone())));
                    list(&mut table, truth.values().cloned().collect());
                }
                _ => {
                    let pods = (0..random.random_range(0..4)).map(|_| {
                        let n = random.random_range(1..9);
                        pod(&format!("uid-{n}"), &format!("10.0.0.{}", n % 5), READY)
                    });
                    let changed = slice(&name, pods.collect());
                    truth.insert(name, changed.clone());
                    table.apply(Event::Applied(changed));
                }
            }
            for Replica { id, key, .. } in table.replicas() {
                uids.entry(*id).or_default().insert(format!("{key:?}"));
            }
        }
        let mut expected: Vec<String> =
            fold(truth.values(), &wanted()).values().map(|seen| seen.address.to_string()).collect();
        expected.sort();
        expect_eq(format!("case {case}: after 60 events, who is ready"), expected, ready(&table));
        let shared = uids.iter().find(|(_, keys)| keys.len() > 1);
        let saw = format!("{shared:?}");
        expect(format!("case {case}: each id"), shared.is_none(), "is one pod's for ever", saw);
    }
}

#[test]
fn task_2_6_follows_zone_hints_only_where_all_have_them() {
    let of = |hints: &[&[&str]]| -> EndpointTable {
        let each = |(number, zones): (usize, &&[&str])| SliceEndpoint {
            for_zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
            ..pod(&number.to_string(), &format!("10.0.0.{number}"), READY)
        };
        table(vec![slice("a", hints.iter().enumerate().map(each).collect())])
    };
    let count = |table: &EndpointTable, zone| in_zone(table.ready().collect(), zone).len();
    let all = of(&[&["a"], &["a"], &["b"], &["a", "b"]]);
    expect_eq("hints a, a, b, a+b; a client in a: candidates", 3, count(&all, Some("a")));
    expect_eq("hints a, a, b, a+b; a client in b: candidates", 2, count(&all, Some("b")));
    expect_eq("hints a, a, b, a+b; a client in c: candidates", 4, count(&all, Some("c")));
    expect_eq("hints a, a, b, a+b; zone not known: candidates", 4, count(&all, None));
    let one_without = of(&[&["a"], &[], &["b"]]);
    expect_eq("hints a, none, b; a client in a: candidates", 3, count(&one_without, Some("a")));
}
