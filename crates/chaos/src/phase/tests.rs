use proptest::prelude::*;

use super::*;

fn facts() -> Facts {
    Facts {
        created: Timestamp::UNIX_EPOCH,
        deleted: false,
        paused: false,
        one_shot: false,
        duration: Some(Duration::from_secs(30)),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

fn record() -> Record {
    Record {
        id: "serving/a".to_owned(),
        selector_key: ".".to_owned(),
        phase: Phase::NotInjected,
        injected_count: 0,
        recovered_count: 0,
        events: Vec::new(),
    }
}

#[test]
fn a_fault_lasts_as_long_as_it_says() {
    let run = (DesiredPhase::Run, Some(Duration::from_secs(20)));
    assert_eq!(desired(&facts(), at(10)), run);
    assert_eq!(desired(&facts(), at(30)), (DesiredPhase::Stop, None));
    let endless = Facts { duration: None, ..facts() };
    assert_eq!(desired(&endless, at(1_000_000)), (DesiredPhase::Run, None));
}

#[test]
fn a_clock_that_is_behind_does_not_end_a_fault() {
    assert_eq!(desired(&facts(), at(-5)), (DesiredPhase::Run, Some(Duration::from_secs(30))));
}

#[test]
fn a_pause_stops_it_and_its_time_runs_on() {
    let paused = Facts { paused: true, ..facts() };
    assert_eq!(desired(&paused, at(10)), (DesiredPhase::Stop, Some(Duration::from_secs(20))));
}

#[test]
fn what_happens_once_is_not_paused_and_has_no_end() {
    let once = Facts { one_shot: true, paused: true, ..facts() };
    assert_eq!(desired(&once, at(1_000)), (DesiredPhase::Run, None));
    let deleted = Facts { deleted: true, ..once };
    assert_eq!(desired(&deleted, at(1_000)), (DesiredPhase::Stop, None));
}

#[test]
fn the_same_failure_again_is_noted_once() {
    let mut record = record();
    for second in 0..20 {
        note(&mut record, Operation::Apply, Err("no such pod".to_owned()), at(second));
    }
    assert_eq!(record.events.len(), 1);
    assert_eq!(record.phase, Phase::NotInjected);
}

#[test]
fn conditions_say_why_they_do_not_hold() {
    let said = conditions(None, false, Some("no pod is selected"));
    assert_eq!(said[0].status, "False");
    assert_eq!(said[0].reason.as_deref(), Some("no pod is selected"));
    assert_eq!(said[1].reason, None);
    let said = conditions(Some(&[record()]), true, Some("not supported here: x"));
    let statuses: Vec<_> = said.iter().map(|each| each.status.as_str()).collect();
    assert_eq!(statuses, ["True", "False", "True", "True"]);
    assert_eq!(said[1].reason.as_deref(), Some("not supported here: x"));
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Pause(bool),
    Pass(i64),
    Attempt(bool),
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        any::<bool>().prop_map(Move::Pause),
        (1i64..5).prop_map(Move::Pass),
        any::<bool>().prop_map(Move::Attempt),
    ]
}

proptest! {
    #[test]
    fn injections_and_recoveries_alternate_whatever_happens(
        moves in proptest::collection::vec(a_move(), 0..60), one_shot: bool,
    ) {
        let mut facts = Facts { one_shot, ..facts() };
        let (mut now, mut record) = (0, record());
        for each in moves {
            match each {
                Move::Pause(paused) => facts.paused = paused,
                Move::Pass(seconds) => now += seconds,
                Move::Attempt(works) => {
                    let (wanted, _) = desired(&facts, at(now));
                    if let Some(operation) = next(record.phase, wanted) {
                        let result = if works { Ok(()) } else { Err(format!("at {now}")) };
                        note(&mut record, operation, result, at(now));
                    }
                }
            }
            let injected = record.phase == Phase::Injected;
            prop_assert_eq!(record.injected_count - record.recovered_count, u64::from(injected));
            prop_assert!(record.events.len() <= MAX_EVENTS);
            prop_assert!(!one_shot || record.recovered_count == 0);
        }
        // Deleted, with an executor that works, every record comes to rest in one attempt, and the object may go.
        facts.deleted = true;
        let (wanted, _) = desired(&facts, at(now));
        if let Some(operation) = next(record.phase, wanted) {
            note(&mut record, operation, Ok(()), at(now));
        }
        prop_assert_eq!(next(record.phase, wanted), None);
        let mut status = ChaosStatus::default();
        status.experiment.records = Some(vec![record]);
        prop_assert!(is_clean(&status));
    }
}
