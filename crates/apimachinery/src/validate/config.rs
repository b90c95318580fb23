//! ConfigMaps and Secrets.

use serde_json::Value;

use super::report::{Path, Report, entries, text};
use crate::names;

/// Bytes of all values.
const LARGEST: usize = 1024 * 1024;

pub(super) fn config_map(new: &Value, old: Option<&Value>, r: &mut Report) {
    let root = Path::Root("");
    let mut size = 0;
    for field in ["data", "binaryData"] {
        let at = root.field(field);
        for (key, value) in entries(new, field) {
            r.name(&at.key(key), key, names::config_key);
            if field == "data" && new["binaryData"].get(key).is_some() {
                r.invalid_text(&at.key(key), key, "duplicate of key present in binaryData");
            }
            let text = value.as_str().unwrap_or("");
            size += if field == "data" { text.len() } else { decoded_len(text) };
        }
    }
    if size > LARGEST {
        r.too_long(&root, LARGEST);
    }
    if let Some(old) = old {
        immutable(new, old, &["data", "binaryData"], r);
    }
}

pub(super) fn secret(new: &Value, old: Option<&Value>, r: &mut Report) {
    let root = Path::Root("");
    let data = root.field("data");
    let mut size = 0;
    for (key, value) in entries(new, "data") {
        r.name(&data.key(key), key, names::config_key);
        size += decoded_len(value.as_str().unwrap_or(""));
    }
    if size > LARGEST {
        r.too_long(&data, LARGEST);
    }
    let kind = text(new, "type");
    let lacks = |key: &&str| new["data"].get(*key).is_none();
    let needs: &[&str] = match kind {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/basic-auth" if ["username", "password"].iter().all(lacks) => {
            &["username", "password"]
        }
        _ => &[],
    };
    for key in needs.iter().copied().filter(|key| lacks(key)) {
        r.required(&data.key(key), "");
    }
    if let Some(old) = old {
        if text(old, "type") != kind {
            r.invalid_text(&root.field("type"), kind, "field is immutable");
        }
        immutable(new, old, &["data"], r);
    }
}

fn immutable(new: &Value, old: &Value, fields: &[&str], r: &mut Report) {
    if old["immutable"] != true {
        return;
    }
    let root = Path::Root("");
    let why = "field is immutable when `immutable` is set";
    if new["immutable"] != true {
        r.forbidden(&root.field("immutable"), why);
    }
    for field in fields {
        if new.get(*field) != old.get(*field) {
            r.forbidden(&root.field(field), why);
        }
    }
}

/// The number of bytes that base64 stands for; its letters have been checked.
fn decoded_len(text: &str) -> usize {
    let letters = text.bytes().filter(|c| !matches!(c, b'=' | b'\n' | b'\r')).count();
    letters * 3 / 4
}
