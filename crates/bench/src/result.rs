//! What a bench found out, as it is saved: figures, the machine they were taken on, and what they were compared
//! with. Tables and plots are made from this alone.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sample::{Better, Spread, ratio};
use crate::{BenchError, Machine};

/// Version of the format. It grows when an older reader would misread a file.
pub const SCHEMA: u64 = 1;

/// All that one run of a bench found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchResult {
    /// [`SCHEMA`].
    pub schema: u64,
    /// `cluster`, `engine`, `loadgen`, `router` or `simulation`.
    pub bench: String,
    /// The day, UTC, as `2026-11-23`.
    pub date: String,
    /// Our commit, short; with a `+` where files differed from it. Absent outside a git checkout.
    pub commit: Option<String>,
    /// What was typed.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// The figures, in the order of the table.
    pub rows: Vec<Row>,
    /// What a reader must know to judge them.
    pub notes: Vec<String>,
}

/// One figure, of ours and of every peer that has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured: `decode, batch 8`.
    pub figure: String,
    /// Of what: `tok/s`.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// The ratio to reach, where one was set.
    pub goal: Option<Goal>,
    /// Our program's figures, one a round.
    pub ours: Vec<f64>,
    /// The peers'.
    pub peers: Vec<PeerFigures>,
}

/// The ratio to a peer that we want to reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// Which peer.
    pub peer: String,
    /// How many times as good as it.
    pub ratio: f64,
}

/// A peer's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerFigures {
    /// Its name and version.
    pub peer: String,
    /// One a round.
    pub figures: Vec<f64>,
    /// How many times as good ours is; derived from the figures, for whoever reads the file.
    pub ratio: Option<Spread>,
}

impl Row {
    /// Adds a peer's figures and compares them.
    pub fn add(&mut self, peer: &str, figures: Vec<f64>) {
        let ratio = ratio(&self.ours, &figures, self.better);
        self.peers.push(PeerFigures { peer: peer.to_owned(), figures, ratio });
    }
}

impl PeerFigures {
    /// The figure that stands for all.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        Spread::of(&self.figures).map(|spread| spread.median)
    }
}

impl Goal {
    /// Whether `row` reaches it: by the median of the rounds. `None` where the peer did not run.
    #[must_use]
    pub fn reached(&self, row: &Row) -> Option<bool> {
        let peer = row.peers.iter().find(|peer| peer.peer.starts_with(&self.peer))?;
        Some(peer.ratio?.median >= self.ratio)
    }
}

impl BenchResult {
    /// Today, UTC, as a result has it.
    #[must_use]
    pub fn today() -> String {
        time::OffsetDateTime::now_utc().date().to_string()
    }

    /// Reads a saved result.
    ///
    /// # Errors
    /// [`BenchError::Io`], [`BenchError::Json`], and [`BenchError::Schema`] for one of another version.
    pub fn load(path: &Path) -> Result<Self, BenchError> {
        load(path)
    }

    /// Writes it, as JSON that a person can read, and makes the folder where it is missing.
    ///
    /// # Errors
    /// [`BenchError::Io`], [`BenchError::Json`].
    pub fn save(&self, path: &Path) -> Result<(), BenchError> {
        save(self, path)
    }
}

/// Where the book keeps a bench's result, and what is made from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookPage {
    /// The result itself.
    pub result: PathBuf,
    /// Its table, which a chapter includes.
    pub table: PathBuf,
    /// Its plot.
    pub plot: PathBuf,
}

impl BookPage {
    /// Of one bench, in the repository at `root`.
    #[must_use]
    pub fn of(root: &Path, bench: &str) -> Self {
        let reference = root.join("book/src/reference");
        let results = reference.join("results");
        Self {
            result: results.join(format!("{bench}.json")),
            table: results.join(format!("{bench}.md")),
            plot: reference.join("img").join(format!("bench-{bench}.svg")),
        }
    }
}

/// Reads what a bench has saved, of whatever kind: all say their version.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<T, BenchError> {
    /// Read first, since the rest may look different.
    #[derive(Deserialize)]
    struct Versioned {
        schema: u64,
    }
    let text = std::fs::read_to_string(path).map_err(BenchError::io(path))?;
    let json = |cause| BenchError::Json { path: path.to_owned(), cause };
    let Versioned { schema: found } = serde_json::from_str(&text).map_err(json)?;
    if found != SCHEMA {
        return Err(BenchError::Schema { path: path.to_owned(), found, known: SCHEMA });
    }
    serde_json::from_str(&text).map_err(json)
}

/// Saves it, and makes the folder where it is missing.
pub(crate) fn save<T: Serialize>(result: &T, path: &Path) -> Result<(), BenchError> {
    let json = |cause| BenchError::Json { path: path.to_owned(), cause };
    let text = serde_json::to_string_pretty(result).map_err(json)? + "\n";
    write(path, &text)
}

/// Writes a file, and makes its folder where it is missing.
///
/// # Errors
/// [`BenchError::Io`].
pub fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(BenchError::io(dir))?;
    }
    std::fs::write(path, text).map_err(BenchError::io(path))
}
