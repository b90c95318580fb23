//! The cluster's folder: its lock, its secrets, its kubeconfig. What is kept lets an old kubeconfig work after `down` and `up`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api_server::Certificates;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Only the owner reads what lets one in.
const SECRET: u32 = 0o600;
/// Bytes of a token, before they become text.
const TOKEN_BYTES: usize = 32;
/// The certificates' files: the authority, the server's certificate, its key.
const CERTIFICATES: [&str; 3] = ["authority.pem", "certificate.pem", "key.pem"];
/// Time between two looks at whether the folder is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The cluster's folder, held by this process until it ends.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// The lock goes when this is closed, also by SIGKILL.
    lock: File,
}

impl Folder {
    /// Takes the folder.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| path.display().to_string())?;
        let path = path.canonicalize()?;
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).read(true).write(true).mode(SECRET);
        let lock = lock.open(path.join("lock")).context("the lock of the cluster's folder")?;
        let whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        if fcntl(&lock, FcntlArg::F_SETLK(&whole)).is_err() {
            bail!("a cluster is running in {} already", path.display());
        }
        Ok(Self { path, lock })
    }

    /// A file or folder in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Ready when the folder is no longer this cluster's: somebody deleted it, or put another in its place. Nobody could
    /// find such a cluster any more, to end it.
    pub(crate) async fn gone(&self) {
        let is_ours = || {
            let at = std::fs::metadata(self.join("lock"));
            let held = self.lock.metadata();
            at.ok()
                .zip(held.ok())
                .is_some_and(|(at, held)| (at.dev(), at.ino()) == (held.dev(), held.ino()))
        };
        while is_ours() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What a cluster that was here before left and is not whole any more, and what follows, for people: [`Folder::token`] and
    /// [`Folder::certificates`] make it anew.
    pub(crate) fn lacks(&self) -> Option<String> {
        let token = self.last_token().is_none().then_some("token");
        let certificates = CERTIFICATES.into_iter();
        let certificates = certificates.filter(|name| std::fs::read(self.join(name)).is_err());
        let lost: Vec<&str> = token.into_iter().chain(certificates).collect();
        let was_here = self.join("kubeconfig").exists();
        (was_here && !lost.is_empty()).then(|| {
            format!(
                "{} in {} cannot be used and is made anew: whoever took the kubeconfig from there before has to take it again",
                lost.join(", "),
                self.path.display(),
            )
        })
    }

    fn last_token(&self) -> Option<String> {
        let token = std::fs::read_to_string(self.join("token")).ok()?;
        (token.len() == 2 * TOKEN_BYTES).then_some(token)
    }

    /// The token that lets one in: made once, kept.
    pub(crate) fn token(&self) -> Result<String> {
        if let Some(token) = self.last_token() {
            return Ok(token);
        }
        let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        let bytes = random.iter().flat_map(|half| half.as_bytes());
        let token: String = bytes.map(|byte| format!("{byte:02x}")).collect();
        write_secret(&self.join("token"), token.as_bytes())?;
        Ok(token)
    }

    /// The certificates: made once, kept, so that old kubeconfigs go on to work.
    pub(crate) fn certificates(&self) -> Result<Certificates> {
        let [Ok(authority), Ok(certificate), Ok(key)] =
            CERTIFICATES.map(|name| std::fs::read_to_string(self.join(name)))
        else {
            let new = Certificates::generate(&[])?;
            for (name, text) in
                CERTIFICATES.iter().zip([&new.authority, &new.certificate, &new.key])
            {
                write_secret(&self.join(name), text.as_bytes())?;
            }
            return Ok(new);
        };
        Ok(Certificates { authority, certificate, key })
    }

    /// The port of last time; 0 if there was none.
    pub(crate) fn last_port(&self) -> u16 {
        let text = std::fs::read_to_string(self.join("port")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// The block of addresses of last time.
    pub(crate) fn last_cell(&self) -> Option<u8> {
        std::fs::read_to_string(self.join("cell")).ok()?.trim().parse().ok()
    }

    /// Writes what clients need.
    pub(crate) fn write_kubeconfig(
        &self,
        port: u16,
        authority_pem: &str,
        token: &str,
    ) -> Result<()> {
        write_secret(&self.join("port"), port.to_string().as_bytes())?;
        let name = "llm-lab";
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": base64(authority_pem.as_bytes()),
            }}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
            "current-context": name,
        });
        // JSON is YAML, too.
        write_secret(&self.join("kubeconfig"), format!("{kubeconfig:#}\n").as_bytes())
    }
}

/// Writes a file that only its owner reads, whole or not at all.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(SECRET)
        .open(&new)
        .with_context(|| new.display().to_string())?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path).with_context(|| path.display().to_string())
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_is_deleted_is_missed_and_one_that_stays_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let taken = Folder::take(&path).unwrap();
        let wait = LOOK_EVERY * 10;
        assert!(tokio::time::timeout(wait, taken.gone()).await.is_err());
        std::fs::remove_dir_all(&path).unwrap();
        tokio::time::timeout(wait, taken.gone()).await.unwrap();
    }

    #[test]
    fn what_a_cluster_left_and_is_lost_is_told_with_what_follows() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::take(parent.path()).unwrap();
        let start = || {
            let lacks = folder.lacks();
            let (token, certificates) = (folder.token().unwrap(), folder.certificates().unwrap());
            folder.write_kubeconfig(1, &certificates.authority, &token).unwrap();
            (lacks, token, certificates.authority)
        };
        let (first, token, authority) = start();
        assert_eq!(first, None, "a new cluster has lost nothing");
        assert_eq!(start(), (None, token.clone(), authority.clone()));
        std::fs::write(folder.join("token"), "half a tok").unwrap();
        let (lacks, new_token, same_authority) = start();
        let lacks = lacks.unwrap();
        assert!(lacks.starts_with("token in ") && lacks.contains("take it again"), "{lacks}");
        assert_ne!(new_token, token);
        assert_eq!(same_authority, authority);
        std::fs::remove_file(folder.join("key.pem")).unwrap();
        let (lacks, same_token, new_authority) = start();
        assert!(lacks.is_some_and(|lacks| lacks.starts_with("key.pem in ")));
        assert_eq!(same_token, new_token);
        assert_ne!(new_authority, authority);
    }

    #[test]
    fn the_token_stays_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let taken = Folder::take(folder.path()).unwrap();
        let token = taken.token().unwrap();
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        assert_eq!(taken.token().unwrap(), token);
        let mode = std::fs::metadata(taken.join("token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SECRET);
    }
}
