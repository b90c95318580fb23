//! Runs programs in turn, round by round, and lays their figures side by side.

use grader::Stop;

use crate::result::{Goal, Row};
use crate::sample::{Better, order};
use crate::{BenchError, Progress};

/// What a comparison measures.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Its name: `decode, batch 8`.
    pub name: String,
    /// Its unit: `tok/s`.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// The ratio to reach.
    pub goal: Option<Goal>,
}

/// One run's figures, in the order of the comparison's [`Figure`]s; `None` for one that this program has not.
pub type Measured = Vec<Option<f64>>;

/// A program that can be measured again and again.
pub trait Contender {
    /// Name and version, as tables show it.
    fn name(&self) -> String;

    /// Runs it once.
    ///
    /// # Errors
    /// Whatever kept it from ending well.
    fn measure(&mut self, stop: &Stop) -> Result<Measured, BenchError>;
}

/// Our program and its peers, on the same work.
pub struct Comparison {
    /// What is measured.
    pub figures: Vec<Figure>,
    /// At most so many rounds: one for figures that do not change from run to run.
    pub rounds: Option<usize>,
    /// Ours.
    pub ours: Box<dyn Contender>,
    /// The others.
    pub peers: Vec<Box<dyn Contender>>,
}

/// What a comparison found, and which peers broke down on the way.
#[derive(Debug, Default)]
pub struct Compared {
    /// One row a figure.
    pub rows: Vec<Row>,
    /// A sentence for each peer that failed; it then has no figures at all.
    pub failures: Vec<String>,
}

impl Comparison {
    /// Measures all programs `rounds` times, or as often as the comparison wants, interleaved. A peer that fails is left out from then on.
    ///
    /// # Errors
    /// Ours failed, or [`BenchError::Interrupted`].
    pub fn run(
        mut self,
        rounds: usize,
        progress: &Progress,
        stop: &Stop,
    ) -> Result<Compared, BenchError> {
        let rounds = self.rounds.map_or(rounds, |most| most.min(rounds));
        let sides = 1 + self.peers.len();
        let mut measured: Vec<Vec<Measured>> = vec![Vec::new(); sides];
        let mut failed: Vec<Option<String>> = vec![None; sides];
        for round in 0..rounds {
            for side in order(round, sides) {
                if failed[side].is_some() {
                    continue;
                }
                let contender = match side.checked_sub(1) {
                    None => &mut self.ours,
                    Some(peer) => &mut self.peers[peer],
                };
                let name = contender.name();
                progress.say(&format!("round {} of {rounds}: {name}", round + 1));
                match contender.measure(stop) {
                    Ok(figures) => measured[side].push(figures),
                    Err(error) if side == 0 || stop.is_set() => return Err(error),
                    Err(error) => failed[side] = Some(format!("{name} has no figures: {error}")),
                }
            }
        }
        let names: Vec<String> = self.peers.iter().map(|peer| peer.name()).collect();
        let rows = self.figures.iter().enumerate();
        let rows = rows.map(|(at, figure)| row(figure, at, &measured, &names, &failed)).collect();
        Ok(Compared { rows, failures: failed.into_iter().flatten().collect() })
    }
}

/// One figure of all programs.
fn row(
    figure: &Figure,
    at: usize,
    measured: &[Vec<Measured>],
    names: &[String],
    failed: &[Option<String>],
) -> Row {
    let column = |side: usize| -> Option<Vec<f64>> {
        measured[side].iter().map(|run| run.get(at).copied().flatten()).collect()
    };
    let Figure { name, unit, better, goal } = figure.clone();
    let ours = column(0).unwrap_or_default();
    let mut row =
        Row { figure: name, unit: unit.to_owned(), better, goal, ours, peers: Vec::new() };
    for (peer, name) in names.iter().enumerate() {
        let side = peer + 1;
        if let Some(figures) = column(side).filter(|_| failed[side].is_none()) {
            row.add(name, figures);
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    /// Returns its figures one after the other, then fails.
    struct Scripted {
        name: &'static str,
        figures: std::vec::IntoIter<Measured>,
        log: Log,
    }

    impl Contender for Scripted {
        fn name(&self) -> String {
            self.name.to_owned()
        }

        fn measure(&mut self, _: &Stop) -> Result<Measured, BenchError> {
            self.log.lock().unwrap().push(self.name);
            self.figures.next().ok_or_else(|| BenchError::Output {
                program: self.name.to_owned(),
                what: "nothing".to_owned(),
            })
        }
    }

    fn scripted(name: &'static str, figures: Vec<Measured>, log: &Log) -> Box<dyn Contender> {
        Box::new(Scripted { name, figures: figures.into_iter(), log: log.clone() })
    }

    fn figure(name: &str) -> Figure {
        Figure { name: name.to_owned(), unit: "/s", better: Better::Higher, goal: None }
    }

    fn compared(peer: Vec<Measured>) -> (Compared, Vec<&'static str>) {
        compared_in(None, peer)
    }

    fn compared_in(rounds: Option<usize>, peer: Vec<Measured>) -> (Compared, Vec<&'static str>) {
        let log = Log::default();
        let ours = vec![vec![Some(2.0), Some(1.0)], vec![Some(3.0), Some(1.0)]];
        let comparison = Comparison {
            figures: vec![figure("speed"), figure("depth")],
            rounds,
            ours: scripted("ours", ours, &log),
            peers: vec![scripted("peer", peer, &log)],
        };
        let compared = comparison.run(2, &Progress::silent(), &Stop::new()).unwrap();
        let log = log.lock().unwrap().clone();
        (compared, log)
    }

    #[test]
    fn programs_take_turns_and_are_compared_round_by_round() {
        let (compared, log) = compared(vec![vec![Some(1.0), None], vec![Some(6.0), None]]);
        assert_eq!(log, ["ours", "peer", "peer", "ours"]);
        let ratio = compared.rows[0].peers[0].ratio.unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.5, 1.25, 2.0));
        assert!(compared.rows[1].peers.is_empty(), "the peer has no such figure");
        assert!(compared.failures.is_empty());
    }

    #[test]
    fn what_does_not_change_is_measured_once() {
        let (compared, log) = compared_in(Some(1), vec![vec![Some(1.0), None]]);
        assert_eq!(log, ["ours", "peer"]);
        assert_eq!(compared.rows[0].peers[0].figures, [1.0]);
    }

    #[test]
    fn a_peer_that_fails_once_has_no_figures_and_is_named() {
        let (compared, _) = compared(vec![vec![Some(1.0), None]]);
        assert!(compared.rows[0].peers.is_empty());
        assert_eq!(compared.rows[0].ours, [2.0, 3.0]);
        assert_eq!(compared.failures.len(), 1);
        assert!(compared.failures[0].starts_with("peer has no figures: "));
    }
}
