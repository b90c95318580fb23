//! A result as a person meets it, and as a file.

use bench::{BenchError, BenchResult, Better, Goal, Machine, Row, SCHEMA, markdown, svg, terminal};
use proptest::prelude::*;

fn machine() -> Machine {
    Machine {
        cpu: "Abacus 3000 @ 2.5 GHz".to_owned(),
        cores: 2,
        memory_bytes: 24 << 30,
        system: "Linux 6.1".to_owned(),
        load_average: 0.25,
        busy_share: 0.01,
    }
}

fn row(figure: &str, unit: &str, better: Better, ours: &[f64]) -> Row {
    let (figure, unit) = (figure.to_owned(), unit.to_owned());
    Row { figure, unit, better, goal: None, ours: ours.to_vec(), peers: Vec::new() }
}

/// One of everything.
fn result() -> BenchResult {
    let mut decode = row("decode, batch 8", "tok/s", Better::Higher, &[500.0, 510.0, 490.0]);
    decode.goal = Some(Goal { peer: "fast".to_owned(), ratio: 1.4 });
    decode.add("fast 2.1", vec![400.0, 300.0, 350.0]);
    decode.add("broken 1", vec![0.0, 1.0, 2.0]);
    let mut cost = row("unary request", "us CPU", Better::Lower, &[12.5, 13.0]);
    cost.goal = Some(Goal { peer: "fast".to_owned(), ratio: 2.0 });
    cost.add("fast 2.1", vec![20.0, 19.5]);
    let mut rate = row("arrivals", "/s", Better::Nearest(10.0), &[9.98]);
    rate.add("fast 2.1", vec![8.7]);
    let mut simulated = row("simulated <requests>", "/s", Better::Higher, &[2e5]);
    simulated.add("Old & slow", vec![500.0]);
    let alone = row("nobody else", "", Better::Higher, &[0.001_5]);
    BenchResult {
        schema: SCHEMA,
        bench: "sample".to_owned(),
        date: "2026-11-23".to_owned(),
        commit: Some("0123456789+".to_owned()),
        command: "cargo xtask bench sample".to_owned(),
        machine: machine(),
        rows: vec![decode, cost, rate, simulated, alone],
        notes: vec!["3 rounds.".to_owned(), "All in turn.".to_owned()],
    }
}

#[test]
fn a_terminal_shows_figures_ratios_goals_and_the_machine() {
    insta::assert_snapshot!(terminal(&result()));
}

#[test]
fn the_book_shows_the_same_as_markdown() {
    insta::assert_snapshot!(markdown(&result()));
}

#[test]
fn a_plot_names_every_bar_and_follows_the_theme() {
    let svg = svg(&result());
    let (before, style) = svg.split_once("<style>\n").unwrap();
    let (style, after) = style.split_once("\n</style>\n").unwrap();
    assert!(style.contains("prefers-color-scheme: dark"));
    insta::assert_snapshot!(format!("{before}...\n{after}"));
}

#[test]
fn a_saved_result_is_read_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("below/result.json");
    result().save(&path).unwrap();
    assert_eq!(BenchResult::load(&path).unwrap(), result());
    insta::assert_snapshot!(std::fs::read_to_string(&path).unwrap());
}

#[test]
fn a_result_of_another_version_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    std::fs::write(&path, r#"{"schema": 2, "tables": []}"#).unwrap();
    let error = BenchResult::load(&path).unwrap_err();
    assert!(matches!(error, BenchError::Schema { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn a_goal_is_missed_reached_or_not_measured() {
    let mut row = row("speed", "/s", Better::Higher, &[3.0]);
    let goal = |ratio| Goal { peer: "fast".to_owned(), ratio };
    assert_eq!(goal(1.0).reached(&row), None);
    row.add("fast 2.1", vec![2.0]);
    assert_eq!(goal(1.5).reached(&row), Some(true));
    assert_eq!(goal(1.6).reached(&row), Some(false));
}

proptest! {
    #[test]
    fn any_figures_survive_a_file(figures in prop::collection::vec((0.0..1e12_f64, 0.0..1e12_f64), 1..6)) {
        let (ours, theirs): (Vec<f64>, Vec<f64>) = figures.into_iter().unzip();
        let mut row = row("any", "/s", Better::Lower, &ours);
        row.add("peer", theirs);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        let before = BenchResult { rows: vec![row], ..result() };
        before.save(&path).unwrap();
        prop_assert_eq!(BenchResult::load(&path).unwrap(), before);
    }
}
