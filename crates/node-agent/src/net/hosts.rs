//! Names of services and pods: a file for each pod, which it sees as `/etc/hosts`.
//!
//! A file is written in place, as programs hold on to it by a mount.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use apimachinery::Meta;
use serde_json::Value;

use super::service::Services;

/// The cluster's domain.
const DOMAIN: &str = "cluster.local";

/// Names and addresses of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) addresses: Vec<Ipv4Addr>,
    /// Pods of a headless service that have a name of their own.
    pub(super) pods: Vec<(String, Ipv4Addr)>,
}

/// All pods' files.
pub(super) struct Hosts {
    dir: PathBuf,
    /// What the host itself knows.
    own: String,
    pods: Mutex<HashMap<PathBuf, Pod>>,
}

#[derive(Debug)]
struct Pod {
    namespace: String,
    /// The line of the pod itself.
    line: String,
    written: String,
}

impl Hosts {
    pub(super) fn new(dir: PathBuf) -> std::io::Result<Self> {
        let _first_life = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        let own = fs::read_to_string("/etc/hosts").unwrap_or_default();
        let own = if own.is_empty() { "127.0.0.1 localhost\n".to_owned() } else { own };
        Ok(Self { dir, own, pods: Mutex::default() })
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<PathBuf, Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of a new pod.
    pub(super) fn pod(
        &self,
        pod: &Value,
        address: Ipv4Addr,
        services: &Services,
    ) -> Option<PathBuf> {
        let path = self.dir.join(pod.uid());
        let host = crate::pod::environment::hostname(pod);
        let line = match pod["spec"]["subdomain"].as_str().filter(|name| !name.is_empty()) {
            Some(subdomain) => {
                let namespace = pod.namespace();
                format!("{address} {host}.{subdomain}.{namespace}.svc.{DOMAIN} {host}\n")
            }
            None => format!("{address} {host}\n"),
        };
        let namespace = pod.namespace().to_owned();
        let mut one = Pod { namespace, line, written: String::new() };
        // Known before it is written: a change from now on reaches it.
        let mut pods = self.pods();
        if let Err(error) = self.write(&path, &mut one, &services.named()) {
            tracing::warn!(%error, path = %path.display(), "names cannot be written");
            return None;
        }
        pods.insert(path.clone(), one);
        Some(path)
    }

    /// Writes every file that is out of date.
    pub(super) fn refresh(&self, services: &[Named]) {
        for (path, pod) in self.pods().iter_mut() {
            if let Err(error) = self.write(path, pod, services) {
                tracing::warn!(%error, path = %path.display(), "names cannot be written");
            }
        }
    }

    pub(super) fn forget(&self, path: &Path) {
        self.pods().remove(path);
        let _is_gone = fs::remove_file(path);
    }

    fn write(&self, path: &Path, pod: &mut Pod, services: &[Named]) -> std::io::Result<()> {
        let text = content(&self.own, &pod.line, &pod.namespace, services);
        if text == pod.written {
            return Ok(());
        }
        let mut file =
            fs::OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
        pod.written = text;
        Ok(())
    }
}

/// The file of a pod in a namespace: short names of its own namespace, long ones of all.
fn content(own: &str, line: &str, namespace: &str, services: &[Named]) -> String {
    let mut text = own.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    for service in services {
        let is_near = service.namespace == namespace;
        let names = |name: &str| {
            let Named { namespace, .. } = service;
            let short = if is_near { format!("{name} ") } else { String::new() };
            format!(
                "{name}.{namespace}.svc.{DOMAIN} {short}{name}.{namespace} {name}.{namespace}.svc"
            )
        };
        for address in &service.addresses {
            let _infallible = writeln!(text, "{address} {}", names(&service.name));
        }
        for (pod, address) in &service.pods {
            let name = format!("{pod}.{}", service.name);
            let _infallible = writeln!(text, "{address} {}", names(&name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_of_the_pods_own_namespace() {
        let service = |name: &str, namespace: &str| Named {
            name: name.into(),
            namespace: namespace.into(),
            addresses: vec![Ipv4Addr::new(127, 18, 0, 1)],
            pods: vec![("web-0".into(), Ipv4Addr::new(127, 16, 0, 1))],
        };
        let services = [service("web", "a"), service("db", "b")];
        let text = content("127.0.0.1 localhost", "127.16.0.9 me\n", "a", &services);
        let line = |name: &str| {
            let has = |line: &&str| line.split(' ').skip(1).any(|one| one == name);
            text.lines().find(has).and_then(|line| line.split(' ').next())
        };
        assert_eq!(line("web"), Some("127.18.0.1"));
        assert_eq!(line("web-0.web"), Some("127.16.0.1"));
        assert_eq!(line("web-0.web.a.svc.cluster.local"), Some("127.16.0.1"));
        assert_eq!(line("db.b"), Some("127.18.0.1"));
        assert_eq!(line("db"), None);
        assert_eq!(line("me"), Some("127.16.0.9"));
    }
}
