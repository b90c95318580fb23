//! A Kubernetes on this machine, by Docker and [kind](https://kind.sigs.k8s.io/).

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Lack, Provider, State};
use crate::program::{find, output};
use crate::{Access, ClusterError, Paths};

/// The cluster's name, as in `clusters/kind/cluster.yaml`.
const NAME: &str = "llm-lab";

/// The kind cluster of this clone.
pub(super) struct Kind {
    paths: Paths,
}

impl Kind {
    pub(super) fn new(paths: Paths) -> Self {
        Self { paths }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.paths.state("kind").join("kubeconfig")
    }

    fn access(&self) -> Access {
        Access { kubeconfig: Some(self.kubeconfig()), context: None }
    }

    fn need(&self) -> Result<(), ClusterError> {
        match self.lacks().into_iter().next() {
            None => Ok(()),
            Some(lack) => Err(ClusterError::Missing { program: lack.what, mend: lack.mend }),
        }
    }

    fn exists() -> Result<bool, ClusterError> {
        let names = output(Command::new("kind").args(["get", "clusters"]))?;
        Ok(names.lines().any(|line| line.trim() == NAME))
    }
}

// === impl Provider for Kind ===

impl Provider for Kind {
    fn lacks(&self) -> Vec<Lack> {
        let programs = [
            ("docker", "https://docs.docker.com/engine/install/"),
            ("kind", "https://kind.sigs.k8s.io/docs/user/quick-start/#installation"),
        ];
        let mut lacks: Vec<Lack> = programs
            .into_iter()
            .filter(|(name, _)| find(name).is_none())
            .map(|(name, page)| Lack { what: name.to_owned(), mend: format!("install it: {page}") })
            .collect();
        if find("docker").is_some()
            && let Err(error) = output(Command::new("docker").args(["info", "--format", "ok"]))
        {
            let what = format!("a Docker daemon that answers ({error})");
            let mend = "start Docker, or `sudo systemctl start docker`".to_owned();
            lacks.push(Lack { what, mend });
        }
        lacks
    }

    fn up(&self) -> Result<Access, ClusterError> {
        self.need()?;
        let kubeconfig = self.kubeconfig();
        let folder = self.paths.state("kind");
        std::fs::create_dir_all(&folder)
            .map_err(|cause| ClusterError::File { path: folder, cause })?;
        let mut command = Command::new("kind");
        if Self::exists()? {
            command.args(["export", "kubeconfig", "--name", NAME]);
        } else {
            anstream::eprintln!("kind creates a cluster: one to three minutes");
            let config = self.paths.root.join("clusters/kind/cluster.yaml");
            command.args(["create", "cluster", "--wait", "120s", "--config"]).arg(config);
        }
        output(command.arg("--kubeconfig").arg(kubeconfig))?;
        Ok(self.access())
    }

    fn down(&self, _forget: bool) -> Result<(), ClusterError> {
        self.need()?;
        output(Command::new("kind").args(["delete", "cluster", "--name", NAME])).map(drop)
    }

    fn state(&self) -> Result<State, ClusterError> {
        if let Some(lack) = self.lacks().into_iter().next() {
            return Ok(State::Down(format!("{}: {}", lack.what, lack.mend)));
        }
        Ok(if Self::exists()? && self.kubeconfig().exists() {
            State::Up(self.access())
        } else {
            State::Down("not created; `cargo xtask cluster up --on kind` creates it".to_owned())
        })
    }

    fn load(&self, image: &str, program: &Path) -> Result<(), ClusterError> {
        self.need()?;
        let folder = format!("target/images/{}", image.replace('/', "-"));
        let staged = deploy::stage(&self.paths.root, program, &self.paths.root.join(folder))?;
        let mut build = Command::new("docker");
        build.args(["build", "--network", "none", "--tag", image]).arg(staged.context);
        output(&mut build)?;
        output(Command::new("kind").args(["load", "docker-image", image, "--name", NAME])).map(drop)
    }
}
