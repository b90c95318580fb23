//! The latest build of a book whose sources change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::build;

/// How often the sources are looked at.
const POLL: Duration = Duration::from_millis(500);

struct Latest {
    build: u64,
    out: PathBuf,
    error: Option<String>,
}

/// Where the latest build is, and how many there were. Clones share it.
#[derive(Clone)]
pub(crate) struct Live(Arc<Mutex<Latest>>);

impl Live {
    pub(crate) fn new(out: PathBuf) -> Self {
        // The check against links that lead out compares real paths.
        let out = out.canonicalize().unwrap_or(out);
        Self(Arc::new(Mutex::new(Latest { build: 1, out, error: None })))
    }

    pub(crate) fn build(&self) -> u64 {
        self.lock().build
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.lock().out.clone()
    }

    /// Why the last build failed, where it did; the one before it is served on.
    pub(crate) fn error(&self) -> Option<String> {
        self.lock().error.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rebuilds on a thread of its own. Two folders take turns, so that a page is never half written.
pub(crate) fn watch(live: Live, root: PathBuf, code: Vec<PathBuf>) {
    let first = live.out();
    let mut second = first.clone().into_os_string();
    second.push("-next");
    let turns = [PathBuf::from(second), first];
    thread::spawn(move || {
        let mut roots = code;
        roots.push(root.clone());
        let mut seen = newest(&roots);
        for turn in turns.iter().cycle() {
            while newest(&roots) == seen {
                thread::sleep(POLL);
            }
            seen = newest(&roots);
            let result = build(&root, turn);
            let mut latest = live.lock();
            latest.build += 1;
            match result {
                Ok(built) => {
                    latest.out = built.out;
                    latest.error = built.warnings.into_iter().next();
                }
                Err(cause) => latest.error = Some(cause.to_string()),
            }
        }
    });
}

/// The latest change of any file below `roots`, and how many there are.
fn newest(roots: &[PathBuf]) -> (Option<SystemTime>, usize) {
    let mut folders: Vec<PathBuf> = roots.to_vec();
    let (mut latest, mut count) = (None, 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !is_output(&path) {
                folders.push(path);
            } else if let Ok(metadata) = entry.metadata() {
                latest = latest.max(metadata.modified().ok());
                count += 1;
            }
        }
    }
    (latest, count)
}

fn is_output(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "target" || name == ".git")
}
