//! The folder that models are kept in: one folder a model, one file in it, and a note of its sum.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::catalogue::Model;
use crate::error::StoreError;
use crate::sink::sum_of;

/// Begins the names of folders whose files are not complete yet.
pub(crate) const PARTIAL: &str = ".partial-";
/// Unfinished folders older than this were left by a killed process.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where models are kept.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// Whether a model is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Complete, with the right sum.
    Ready,
    /// Not there.
    Missing,
    /// There, but not what it should be.
    Corrupt,
}

/// What was true of the file when its sum was last right. While the rest is as it was, so is the sum.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    sha256: String,
    bytes: u64,
    /// When the file was last written, in nanoseconds since 1970.
    modified_ns: u64,
}

impl State {
    /// The word that `list` shows.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Missing => "missing",
            Self::Corrupt => "corrupt",
        }
    }
}

impl Cache {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where the course keeps things on this machine.
    pub(crate) fn from_environment() -> Result<Self, StoreError> {
        lab_cache::root().map(Self::new).ok_or(StoreError::NoCache)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a model.
    pub(crate) fn folder(&self, model: &Model) -> PathBuf {
        self.root.join(model.name)
    }

    /// Where a model's file is, or would be.
    pub(crate) fn path(&self, model: &Model) -> PathBuf {
        self.folder(model).join(model.file)
    }

    fn stamp_path(&self, model: &Model) -> PathBuf {
        self.folder(model).join(format!("{}.sum.json", model.file))
    }

    /// Whether a model is there. Reads the whole file only where it changed since its sum was taken.
    pub(crate) fn state(&self, model: &Model) -> State {
        match self.ready(model) {
            Ok(_) => State::Ready,
            Err(StoreError::Missing { .. }) => State::Missing,
            Err(_) => State::Corrupt,
        }
    }

    /// The path of a model that is there and has not changed since its sum was right.
    pub(crate) fn ready(&self, model: &Model) -> Result<PathBuf, StoreError> {
        let (path, metadata) = self.found(model)?;
        let stamp = fs::read(self.stamp_path(model))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Stamp>(&bytes).ok());
        if stamp.is_some_and(|stamp| stamp == stamp_of(model, &metadata)) {
            return Ok(path);
        }
        self.verified(model)
    }

    /// The path of a model, once its whole file was read and has the right sum.
    pub(crate) fn verified(&self, model: &Model) -> Result<PathBuf, StoreError> {
        let (path, metadata) = self.found(model)?;
        let found = sum_of(&path)?;
        if found != model.sha256 {
            let reason = format!("its sha256 is {found}, expected {}", model.sha256);
            return Err(StoreError::Corrupt { path, reason });
        }
        self.write_stamp(model, &metadata);
        Ok(path)
    }

    fn found(&self, model: &Model) -> Result<(PathBuf, Metadata), StoreError> {
        let path = self.path(model);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { name: model.name });
            }
            Err(cause) => return Err(StoreError::io(&path, cause)),
        };
        if !metadata.is_file() || metadata.len() != model.bytes {
            let reason = format!("it has {} bytes, expected {}", metadata.len(), model.bytes);
            return Err(StoreError::Corrupt { path, reason });
        }
        Ok((path, metadata))
    }

    /// Gives a complete, checked file its name.
    pub(crate) fn adopt(&self, model: &Model, checked: &Path) -> Result<PathBuf, StoreError> {
        let path = self.path(model);
        fs::rename(checked, &path).map_err(|cause| StoreError::io(&path, cause))?;
        if let Ok(metadata) = fs::metadata(&path) {
            self.write_stamp(model, &metadata);
        }
        Ok(path)
    }

    /// A note that cannot be written only costs time later: the sum is taken again.
    fn write_stamp(&self, model: &Model, metadata: &Metadata) {
        if let Ok(text) = serde_json::to_vec(&stamp_of(model, metadata)) {
            let _ = fs::write(self.stamp_path(model), text);
        }
    }

    /// Removes what killed processes left behind.
    pub(crate) fn remove_stale(&self, model: &Model) {
        let Ok(entries) = fs::read_dir(self.folder(model)) else { return };
        for entry in entries.flatten() {
            let partial = entry.file_name().to_string_lossy().starts_with(PARTIAL);
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            if partial && age.is_some_and(|age| age > STALE) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn stamp_of(model: &Model, metadata: &Metadata) -> Stamp {
    let since_1970 = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Stamp {
        sha256: model.sha256.to_owned(),
        bytes: metadata.len(),
        modified_ns: since_1970
            .and_then(|time| u64::try_from(time.as_nanos()).ok())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::model_of;

    #[test]
    fn a_cached_file_is_ready_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().into());
        let model = model_of(b"some model");
        assert_eq!(cache.state(model), State::Missing);
        fs::create_dir_all(cache.folder(model)).unwrap();
        fs::write(cache.path(model), b"some model").unwrap();
        assert_eq!(cache.state(model), State::Ready, "a file put there by hand counts");
        fs::write(cache.path(model), b"some mOdel").unwrap();
        let error = cache.ready(model).unwrap_err().to_string();
        assert!(error.contains("corrupt") && error.contains("model pull"), "{error}");
        fs::write(cache.path(model), b"some").unwrap();
        assert!(cache.ready(model).unwrap_err().to_string().contains("4 bytes"));
    }

    #[test]
    fn only_a_full_check_finds_a_change_that_kept_size_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().into());
        let model = model_of(b"some model");
        fs::create_dir_all(cache.folder(model)).unwrap();
        fs::write(cache.path(model), b"some model").unwrap();
        cache.verified(model).unwrap();
        let time = fs::metadata(cache.path(model)).unwrap().modified().unwrap();
        fs::write(cache.path(model), b"s0me model").unwrap();
        fs::File::options()
            .write(true)
            .open(cache.path(model))
            .unwrap()
            .set_modified(time)
            .unwrap();
        assert_eq!(cache.state(model), State::Ready);
        assert!(matches!(cache.verified(model), Err(StoreError::Corrupt { .. })));
    }
}
