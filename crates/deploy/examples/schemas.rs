//! Takes the definitions of foreign kinds out of the Go modules that publish them: `cargo run -p deploy --example schemas`.
//!
//! What is kept are facts: names, types, limits, defaults. Descriptions, CEL rules, columns and versions that nobody here uses are
//! left out. Go fetches a module when it is not there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// File to write, module at its version, files in the module, definitions and the one version of each that is kept.
type Take =
    (&'static str, &'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

const TAKE: [Take; 2] = [
    (
        "gateway-api.yaml",
        "sigs.k8s.io/gateway-api@v1.6.3",
        &[
            "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
            "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
        ],
        &[
            ("gateways.gateway.networking.k8s.io", "v1"),
            ("httproutes.gateway.networking.k8s.io", "v1"),
        ],
    ),
    (
        "istio.yaml",
        "istio.io/api@v1.32.0",
        &["kubernetes/customresourcedefinitions.gen.yaml"],
        &[
            ("virtualservices.networking.istio.io", "v1"),
            ("destinationrules.networking.istio.io", "v1"),
        ],
    ),
];

fn main() -> Result<()> {
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clusters/schemas");
    std::fs::create_dir_all(&out)?;
    for (file, module, sources, kept) in TAKE {
        let folder = folder_of(module)?;
        let mut text = format!(
            "# {}\n# Source: {module}, {}; Apache License 2.0. Generated: cargo run -p deploy --example schemas\n",
            "Definitions of foreign kinds: names, types, limits and defaults; no descriptions, no CEL rules, one version.",
            sources.join(", "),
        );
        for (name, version) in kept {
            let crd = definition(&folder, sources, name)?;
            let crd = stripped(&crd, version).with_context(|| format!("{name}: no {version}"))?;
            text.push_str("---\n");
            text.push_str(&serde_saphyr::to_string(&crd)?);
        }
        std::fs::write(out.join(file), text)?;
        println!("clusters/schemas/{file}");
    }
    Ok(())
}

/// Where Go keeps a module.
fn folder_of(module: &str) -> Result<PathBuf> {
    let output = Command::new("go")
        .args(["mod", "download", "-json", module])
        .current_dir(std::env::temp_dir())
        .output()
        .context("go is needed")?;
    let said: Value = serde_json::from_slice(&output.stdout).context("go mod download")?;
    ensure!(said["Error"].is_null(), "{module}: {}", said["Error"]);
    Ok(PathBuf::from(said["Dir"].as_str().context("no folder")?))
}

fn definition(folder: &Path, sources: &[&str], name: &str) -> Result<Value> {
    for source in sources {
        let text = std::fs::read_to_string(folder.join(source))?;
        for document in text.split("\n---") {
            let found: Value = serde_saphyr::from_str(document).unwrap_or_default();
            if found["metadata"]["name"] == name {
                return Ok(found);
            }
        }
    }
    anyhow::bail!("{name} is not there")
}

/// A definition with one version, and without what only people read.
fn stripped(crd: &Value, version: &str) -> Option<Value> {
    let spec = &crd["spec"];
    let versions = spec["versions"].as_array()?;
    let mut schema =
        versions.iter().find(|each| each["name"] == version)?["schema"]["openAPIV3Schema"].clone();
    strip(&mut schema);
    schema["properties"].as_object_mut()?.remove("status");
    Some(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": crd["metadata"]["name"],
            // Groups below k8s.io are guarded by this.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a copy for checks"},
        },
        "spec": {
            "group": spec["group"],
            "names": spec["names"],
            "scope": spec["scope"],
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
            }],
        },
    }))
}

fn strip(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    if fields.get("description").is_some_and(Value::is_string) {
        fields.remove("description");
    }
    fields.remove("x-kubernetes-validations");
    for (name, below) in fields.iter_mut() {
        match below {
            // A field may be called like a word of schemas.
            Value::Object(named) if name == "properties" => named.values_mut().for_each(strip),
            Value::Object(_) if name != "default" => strip(below),
            Value::Array(all) if name != "enum" => all.iter_mut().for_each(strip),
            _ => {}
        }
    }
}
