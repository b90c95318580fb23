//! Folders rendered as kubectl renders them, and foreign kinds by their definitions.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part, and a test that cannot go on fails"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use apimachinery::schema::{Schema, builtin};
use serde_json::Value;

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What `kubectl kustomize` makes of a folder.
pub fn render(folder: &str) -> Vec<Value> {
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(root().join(folder))
        .output()
        .expect("kubectl is installed");
    assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
    documents(&String::from_utf8(output.stdout).expect("YAML"))
}

/// The documents of a file.
pub fn documents(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n").filter(|document| document.contains("kind:"));
    documents.map(|document| serde_saphyr::from_str(document).expect("YAML")).collect()
}

/// A text in an object; empty where there is none.
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// Schemas by API version and kind.
pub type Schemas = BTreeMap<(String, String), Schema>;

/// The definitions in `clusters/schemas`, after a check of themselves: each is what Kubernetes says that a definition is.
pub fn foreign() -> Schemas {
    let mut schemas = Schemas::new();
    for entry in std::fs::read_dir(root().join("clusters/schemas")).unwrap() {
        let path = entry.unwrap().path();
        for crd in documents(&std::fs::read_to_string(&path).unwrap()) {
            let name = format!("{}: {}", path.display(), text(&crd, "/metadata/name"));
            let kinds = apimachinery::builtin::kinds();
            let (version, kind) = (text(&crd, "/apiVersion"), text(&crd, "/kind"));
            let kind = kinds.named(version, kind).expect(&name);
            let wrong = apimachinery::validate::object(kind, &crd, None);
            assert!(wrong.is_empty(), "{name}: {wrong:?}");
            assert!(builtin().of_kind(version, &kind.kind).is_some());
            for version in crd["spec"]["versions"].as_array().unwrap() {
                let schema = Schema::from_json(&version["schema"]["openAPIV3Schema"], true);
                let api = format!("{}/{}", text(&crd, "/spec/group"), text(version, "/name"));
                schemas
                    .insert((api, text(&crd, "/spec/names/kind").to_owned()), schema.expect(&name));
            }
        }
    }
    schemas
}
