//! The cluster file: which nodes there are, and which programs stand behind image names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use node_agent::{Config, Image, NodeConfig};
use serde::Deserialize;

use crate::state::Folder;

/// Nodes that a file may declare. Each costs a heartbeat and a few objects.
pub(crate) const MOST_NODES: usize = 1000;

/// The cluster file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterFile {
    /// Places to schedule pods.
    #[serde(default, rename = "node")]
    pub(crate) nodes: Vec<NodeConfig>,
    /// Programs behind image names.
    #[serde(default, rename = "image")]
    pub(crate) images: Vec<Image>,
}

/// Why a cluster file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read.
    #[error("{path}: {cause}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is no such file.
    #[error("{path}: {cause}", path = path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where, and what.
        cause: Box<toml::de::Error>,
    },
    /// Two nodes of one name.
    #[error("two nodes are called {0:?}: give one another name")]
    SameName(String),
    /// Too many nodes.
    #[error("{0} nodes are declared; {MOST_NODES} are the most")]
    TooMany(usize),
    /// None.
    #[error("no node is declared: add a [[node]] with a name")]
    NoNode,
}

impl ClusterFile {
    /// Reads a cluster file; `programs` takes the place of `{programs}` in it.
    pub(crate) fn read(path: &Path, programs: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| FileError::Read { path: path.to_owned(), cause })?;
        let mut file: Self = toml::from_str(&text)
            .map_err(|cause| FileError::Syntax { path: path.to_owned(), cause: Box::new(cause) })?;
        file.check()?;
        for image in &mut file.images {
            if let Ok(ours) = image.program.strip_prefix("{programs}") {
                image.program = programs.join(ours);
            }
        }
        Ok(file)
    }

    /// What the node agent is started with.
    pub(crate) fn agent_config(self, folder: &Folder) -> Config {
        Config {
            nodes: self.nodes,
            images: self.images,
            address_cell: folder.last_cell(),
            more_images: Some(folder.join("images")),
            ..Config::new(folder.join("nodes"))
        }
    }

    fn check(&self) -> Result<(), FileError> {
        if self.nodes.is_empty() {
            return Err(FileError::NoNode);
        }
        if self.nodes.len() > MOST_NODES {
            return Err(FileError::TooMany(self.nodes.len()));
        }
        let mut names = BTreeSet::new();
        match self.nodes.iter().find(|node| !names.insert(&node.name)) {
            Some(twice) => Err(FileError::SameName(twice.name.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClusterFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.toml");
        std::fs::write(&path, text).unwrap();
        let read = ClusterFile::read(&path, Path::new("/programs"));
        read.map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn the_file_of_the_course_is_right() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clusters/embedded/cluster.toml");
        let file = ClusterFile::read(&path, Path::new("/programs")).unwrap();
        assert!(file.nodes.len() >= 3);
        assert!(
            file.images.iter().any(|image| image.program == Path::new("/programs/sol01-engine"))
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let error = read("[[node]]\nname = \"a\"\ncpus = 3\n").unwrap_err();
        assert!(error.starts_with("FILE: TOML parse error at line 3"), "{error}");
        assert!(error.contains("unknown field `cpus`"), "{error}");
        let error = read("[[node]]\nname = \"a\"\n[[node]]\nname = \"a\"\n").unwrap_err();
        assert_eq!(error, "two nodes are called \"a\": give one another name");
        assert_eq!(read("").unwrap_err(), "no node is declared: add a [[node]] with a name");
    }
}
