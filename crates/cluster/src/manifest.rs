//! Objects that are written as YAML.

use std::path::{Component, Path, PathBuf};

use cluster_orders::Source;
use serde_json::Value;

/// Files beside a lab's manifests that hold no object.
const NO_OBJECTS: &str = "kustomization.yaml";

/// Why manifests cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// One cannot be read.
    #[error("{path}: {cause}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is not what a manifest looks like.
    #[error("{place}: {why}")]
    Content {
        /// Where it is written.
        place: String,
        /// What is missing or wrong.
        why: String,
    },
}

/// The objects of a source, in the order in which they can be applied: what pods refer to comes before them.
///
/// # Errors
/// [`ManifestError`].
pub(crate) fn read(source: &Source, deploy: &Path) -> Result<Vec<Value>, ManifestError> {
    let mut all = match source {
        Source::Text(text) => parse(text, "the text")?,
        Source::Deploy(name) => {
            let mut all = Vec::new();
            for path in files(deploy, name)? {
                let text = std::fs::read_to_string(&path)
                    .map_err(|cause| ManifestError::Read { path: path.clone(), cause })?;
                all.extend(parse(&text, &path.display().to_string())?);
            }
            all
        }
    };
    all.sort_by_key(rank);
    Ok(all)
}

fn parse(text: &str, place: &str) -> Result<Vec<Value>, ManifestError> {
    let content = |why| ManifestError::Content { place: place.to_owned(), why };
    let all = serde_saphyr::from_multiple::<Value>(text);
    let all = all.map_err(|error| content(error.to_string()))?;
    let all: Vec<Value> = all.into_iter().filter(|value| !value.is_null()).collect();
    if all.is_empty() {
        return Err(content("there is no object".to_owned()));
    }
    Ok(all)
}

/// A file, or the files of a folder by name.
fn files(deploy: &Path, name: &str) -> Result<Vec<PathBuf>, ManifestError> {
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(name).components().all(inside) {
        let why = "expected a place in the lab's deploy folder".to_owned();
        return Err(ManifestError::Content { place: name.to_owned(), why });
    }
    let path = deploy.join(name);
    if !path.is_dir() {
        return Ok(vec![path]);
    }
    let failed = |cause| ManifestError::Read { path: path.clone(), cause };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let is_yaml = file.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
        if is_yaml && file.file_name().is_none_or(|name| name != NO_OBJECTS) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// What must be there before others of a set can work: small numbers first.
fn rank(object: &Value) -> u8 {
    match object["kind"].as_str().unwrap_or_default() {
        "ServiceAccount" | "ConfigMap" | "Secret" | "PersistentVolumeClaim" | "Service" => 0,
        "Pod" | "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_what_pods_refer_to_before_them_and_no_kustomization() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.yaml", "# first\nkind: Deployment\n---\nkind: HorizontalPodAutoscaler\n---\n");
        write("b.yaml", "kind: ConfigMap\ndata: { text: \"---\" }\n");
        write("kustomization.yaml", "kind: Kustomization\n");
        write("notes.txt", "no YAML: {");
        let kinds = |source: &Source| -> Vec<String> {
            let all = read(source, folder.path()).unwrap();
            all.iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect()
        };
        let all = ["ConfigMap", "Deployment", "HorizontalPodAutoscaler"];
        assert_eq!(kinds(&Source::Deploy(".".into())), all);
        assert_eq!(kinds(&Source::Deploy("b.yaml".into())), ["ConfigMap"]);
    }

    #[test]
    fn what_is_no_manifest_of_the_lab_is_refused_with_its_place() {
        let refused =
            |source: Source| read(&source, Path::new("/nowhere")).unwrap_err().to_string();
        let outside = refused(Source::Deploy("../secret.yaml".into()));
        assert!(outside.contains("../secret.yaml: expected a place"), "{outside}");
        assert!(refused(Source::Deploy("no.yaml".into())).starts_with("/nowhere/no.yaml: "));
        assert_eq!(refused(Source::Text("---\n".into())), "the text: there is no object");
        assert!(refused(Source::Text("a: {".into())).starts_with("the text: "));
    }
}
