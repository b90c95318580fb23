//! A pod's volumes: directories, some of which outlive it, some of which follow objects.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use apimachinery::Key;
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, HostPathVolumeSource, KeyToPath, Volume,
};

use super::environment;
use super::fields;
use super::worker::Worker;
use crate::events::Level;
use crate::expand::expand;
use crate::supervisor::order::Mount;

/// File mode of volumes' files unless they say otherwise.
const MODE: u32 = 0o644;

/// A file's content and mode.
type File = (Vec<u8>, u32);

/// The directories of a pod's volumes.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    dirs: BTreeMap<String, PathBuf>,
}

impl Volumes {
    /// What a container mounts, in its own order.
    pub(crate) fn mounts(&self, container: &Container) -> Result<Vec<Mount>, String> {
        let env = container.env.iter().flatten();
        let literal: BTreeMap<&str, &str> =
            env.filter_map(|one| Some((one.name.as_str(), one.value.as_deref()?))).collect();
        let mounts = container.volume_mounts.iter().flatten().map(|mount| {
            let dir = self.dirs.get(&mount.name);
            let dir = dir.ok_or_else(|| format!("volume {:?} is not there", mount.name))?;
            let inner = match (&mount.sub_path, &mount.sub_path_expr) {
                (Some(path), _) if !path.is_empty() => path.clone(),
                (_, Some(path)) => expand(path, |name| literal.get(name).copied()),
                _ => String::new(),
            };
            let source = within(dir, &inner)?;
            if !source.exists() {
                fs::create_dir_all(&source)
                    .map_err(|error| format!("subPath {inner:?} of {:?}: {error}", mount.name))?;
            }
            let target = PathBuf::from(&mount.mount_path);
            Ok(Mount { source, target, read_only: mount.read_only == Some(true) })
        });
        mounts.collect()
    }
}

/// Makes the volumes. What is missing is said, to be tried again.
pub(super) async fn set_up(worker: &Worker) -> Result<Volumes, String> {
    let mut dirs = BTreeMap::new();
    let volumes = worker.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    for volume in volumes.into_iter().flatten() {
        let dir = make(worker, volume).map_err(|why| {
            format!("MountVolume.SetUp failed for volume {:?} : {why}", volume.name)
        })?;
        dirs.insert(volume.name.clone(), dir);
    }
    Ok(Volumes { dirs })
}

/// Brings the files that follow objects up to date.
pub(super) async fn refresh(worker: &Worker) {
    let Some(made) = &worker.volumes else { return };
    let volumes = worker.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    for volume in volumes.into_iter().flatten() {
        // What has gone since stays as it was, as with the kubelet.
        if let (Ok(Some(files)), Some(dir)) = (files(worker, volume), made.dirs.get(&volume.name))
            && let Err(error) = write_atomically(dir, &files)
        {
            let message = format!("volume {:?} is out of date: {error}", volume.name);
            worker.say("", Level::Warning, "FailedMount", &message);
        }
    }
}

fn make(worker: &Worker, volume: &Volume) -> Result<PathBuf, String> {
    let dir = worker.dir().join("volumes").join(&volume.name);
    let told = |error: std::io::Error| error.to_string();
    if let Some(files) = files(worker, volume)? {
        fs::create_dir_all(&dir).map_err(told)?;
        write_atomically(&dir, &files).map_err(told)?;
        return Ok(dir);
    }
    if volume.empty_dir.is_some() {
        fs::create_dir_all(&dir).map_err(told)?;
        return Ok(dir);
    }
    if let Some(host) = &volume.host_path {
        return host_path(host);
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        return claimed(worker, &claim.claim_name);
    }
    let kind = serde_json::to_value(volume).unwrap_or_default();
    let kind = kind.as_object().into_iter().flatten().map(|(name, _)| name.clone());
    let kind = kind.filter(|name| name != "name").collect::<Vec<_>>().join(", ");
    Err(format!("the embedded cluster has no volumes of type {kind}"))
}

/// A directory or file of the host that is there already.
fn host_path(host: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&host.path);
    let kind = host.type_.as_deref().unwrap_or("");
    let fits = match kind {
        "" => path.exists(),
        "Directory" | "DirectoryOrCreate" => path.is_dir(),
        "File" | "FileOrCreate" => path.is_file(),
        "Socket" | "CharDevice" | "BlockDevice" => {
            path.exists() && !path.is_dir() && !path.is_file()
        }
        _ => false,
    };
    if fits {
        return Ok(path);
    }
    if kind.ends_with("OrCreate") && !path.exists() {
        return Err(format!(
            "the embedded cluster makes nothing on the host: {} is missing",
            host.path
        ));
    }
    Err(format!("hostPath type check failed: {} is not a {kind}", host.path))
}

/// The directory of a claim, which outlives the pod.
fn claimed(worker: &Worker, name: &str) -> Result<PathBuf, String> {
    let (store, namespace) = (&worker.shared.store, &worker.key.namespace);
    let kind = store.kind("", "persistentvolumeclaims");
    let key = Key::namespaced(namespace.clone(), name);
    let claim = store.get(&kind, &key);
    let claim = claim.map_err(|_| format!("persistentvolumeclaim {name:?} not found"))?;
    let volume = claim.value()["spec"]["volumeName"].as_str().unwrap_or("").to_owned();
    if volume.is_empty() {
        return Err(format!("persistentvolumeclaim {name:?} is not bound to a volume yet"));
    }
    let kind = store.kind("", "persistentvolumes");
    let object = store.get(&kind, &Key::cluster(volume.clone()));
    let object = object.map_err(|_| format!("persistentvolume {volume:?} not found"))?;
    let path = object.value()["spec"]["hostPath"]["path"].as_str().map(PathBuf::from);
    let path =
        path.ok_or_else(|| format!("persistentvolume {volume:?} is no directory of this host"))?;
    // Made by whoever mounts it first, as its type says.
    fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// The files of a volume that shows objects; none for other volumes.
fn files(worker: &Worker, volume: &Volume) -> Result<Option<BTreeMap<PathBuf, File>>, String> {
    let mut all = BTreeMap::new();
    if let Some(map) = &volume.config_map {
        let from = Source { worker, plural: "configmaps", name: &map.name, optional: map.optional };
        from.add(&mut all, map.items.as_deref(), map.default_mode)?;
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or("");
        let from = Source { worker, plural: "secrets", name, optional: secret.optional };
        from.add(&mut all, secret.items.as_deref(), secret.default_mode)?;
    } else if let Some(downward) = &volume.downward_api {
        add_fields(worker, &mut all, downward.items.as_deref(), downward.default_mode)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode;
        for source in projected.sources.iter().flatten() {
            if let Some(map) = &source.config_map {
                let (name, optional) = (map.name.as_str(), map.optional);
                let from = Source { worker, plural: "configmaps", name, optional };
                from.add(&mut all, map.items.as_deref(), mode)?;
            } else if let Some(secret) = &source.secret {
                let (name, optional) = (secret.name.as_str(), secret.optional);
                let from = Source { worker, plural: "secrets", name, optional };
                from.add(&mut all, secret.items.as_deref(), mode)?;
            } else if let Some(downward) = &source.downward_api {
                add_fields(worker, &mut all, downward.items.as_deref(), mode)?;
            } else if let Some(token) = &source.service_account_token {
                let text = worker
                    .shared
                    .config
                    .token
                    .as_deref()
                    .ok_or("the embedded cluster gives pods no service account tokens")?;
                all.insert(PathBuf::from(&token.path), (text.as_bytes().to_vec(), 0o600));
            } else {
                return Err("the embedded cluster cannot project that source".to_owned());
            }
        }
    } else {
        return Ok(None);
    }
    Ok(Some(all))
}

/// A ConfigMap or Secret whose keys become files.
struct Source<'a> {
    worker: &'a Worker,
    plural: &'a str,
    name: &'a str,
    optional: Option<bool>,
}

impl Source<'_> {
    fn add(
        &self,
        files: &mut BTreeMap<PathBuf, File>,
        items: Option<&[KeyToPath]>,
        mode: Option<i32>,
    ) -> Result<(), String> {
        let store = &self.worker.shared.store;
        let key = Key::namespaced(self.worker.key.namespace.clone(), self.name);
        let Ok(object) = store.get(&store.kind("", self.plural), &key) else {
            let missing =
                format!("{} {:?} not found", self.plural.trim_end_matches('s'), self.name);
            return if self.optional == Some(true) { Ok(()) } else { Err(missing) };
        };
        let content = environment::content(object.value());
        match items.filter(|items| !items.is_empty()) {
            None => {
                let all = content.into_iter();
                files.extend(all.map(|(key, bytes)| (PathBuf::from(key), (bytes, bits(mode)))));
            }
            Some(items) => {
                for item in items {
                    let Some(bytes) = content.get(&item.key) else {
                        if self.optional == Some(true) {
                            continue;
                        }
                        return Err(format!("references non-existent key: {}", item.key));
                    };
                    let mode = bits(item.mode.or(mode));
                    files.insert(inner(&item.path)?, (bytes.clone(), mode));
                }
            }
        }
        Ok(())
    }
}

fn add_fields(
    worker: &Worker,
    files: &mut BTreeMap<PathBuf, File>,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: Option<i32>,
) -> Result<(), String> {
    for item in items.into_iter().flatten() {
        let text = if let Some(field) = &item.field_ref {
            fields::field(&field.field_path, worker.object.value(), &worker.place)
                .ok_or_else(|| format!("unsupported fieldPath: {}", field.field_path))?
        } else if let Some(selector) = &item.resource_field_ref {
            let name = selector.container_name.as_deref().unwrap_or("");
            let container = worker.containers.iter().find(|one| one.spec.name == name);
            container
                .and_then(|one| fields::resource(selector, &one.spec, &worker.place))
                .ok_or_else(|| format!("unsupported container resource: {}", selector.resource))?
        } else {
            continue;
        };
        files.insert(inner(&item.path)?, (text.into_bytes(), bits(item.mode.or(mode))));
    }
    Ok(())
}

fn bits(mode: Option<i32>) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(MODE) & 0o777
}

/// A path that stays within its directory.
fn inner(path: &str) -> Result<PathBuf, String> {
    let path = Path::new(path);
    let stays =
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let is_ours = path.to_string_lossy().starts_with("..");
    if stays && !is_ours && path.components().next().is_some() {
        Ok(path.to_owned())
    } else {
        Err(format!("path {path:?} must be relative and not contain '..'"))
    }
}

fn within(dir: &Path, path: &str) -> Result<PathBuf, String> {
    if path.is_empty() { Ok(dir.to_owned()) } else { inner(path).map(|path| dir.join(path)) }
}

/// Replaces all files at once, as the kubelet does: `NAME` is a link to `..data/NAME`, and `..data` a link to a
/// directory of this version, which is exchanged by one rename.
fn write_atomically(dir: &Path, files: &BTreeMap<PathBuf, File>) -> std::io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let data = dir.join("..data");
    let old = fs::read_link(&data).ok();
    if let Some(old) = &old
        && holds(&dir.join(old), files)
    {
        return Ok(());
    }
    let version = format!("..{}", jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f"));
    for (path, (bytes, mode)) in files {
        let file = dir.join(&version).join(path);
        fs::create_dir_all(file.parent().unwrap_or(dir))?;
        fs::write(&file, bytes)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(*mode))?;
    }
    fs::create_dir_all(dir.join(&version))?;
    let next = dir.join("..data_tmp");
    let _was_not_there = fs::remove_file(&next);
    symlink(&version, &next)?;
    fs::rename(&next, &data)?;
    let tops: std::collections::BTreeSet<_> =
        files.keys().filter_map(|path| path.components().next()).collect();
    for top in &tops {
        let link = dir.join(top);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(top), &link)?;
        }
    }
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let stale =
            !name.to_string_lossy().starts_with("..") && !tops.contains(&Component::Normal(&name));
        if stale {
            let _is_no_link_of_ours = fs::remove_file(entry.path());
        }
    }
    match old {
        Some(old) => fs::remove_dir_all(dir.join(old)),
        None => Ok(()),
    }
}

/// Whether a directory holds exactly these files.
fn holds(dir: &Path, files: &BTreeMap<PathBuf, File>) -> bool {
    let same = files
        .iter()
        .all(|(path, (bytes, _))| fs::read(dir.join(path)).is_ok_and(|there| there == *bytes));
    same && count(dir) == files.len()
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_are_exchanged_at_once_and_stale_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let files = |all: &[(&str, &str)]| -> BTreeMap<PathBuf, File> {
            all.iter().map(|(path, text)| (path.into(), (text.as_bytes().to_vec(), MODE))).collect()
        };
        write_atomically(dir.path(), &files(&[("a", "1"), ("sub/b", "2")])).unwrap();
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).ok();
        assert_eq!(read("a").as_deref(), Some("1"));
        assert_eq!(read("sub/b").as_deref(), Some("2"));
        let before = fs::read_link(dir.path().join("..data")).unwrap();
        write_atomically(dir.path(), &files(&[("a", "1"), ("sub/b", "2")])).unwrap();
        assert_eq!(fs::read_link(dir.path().join("..data")).unwrap(), before, "nothing changed");
        write_atomically(dir.path(), &files(&[("a", "3")])).unwrap();
        assert_eq!((read("a").as_deref(), read("sub/b")), (Some("3"), None));
        assert!(!dir.path().join(before).exists());
    }

    proptest! {
        #[test]
        fn no_path_leads_out_of_a_volume(path in "[./a]{0,12}") {
            if let Ok(inner) = inner(&path) {
                let stays = inner.components().all(|part| !matches!(part, Component::ParentDir | Component::RootDir));
                prop_assert!(stays);
            }
        }
    }
}
