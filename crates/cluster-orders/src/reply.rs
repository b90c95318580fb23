//! What is answered.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The place is there: this namespace. Said once, before anything is asked.
    Place(String),
    /// It is done.
    Done,
    /// These objects are there now.
    Objects(Vec<ObjectName>),
    /// These pods.
    Pods(Vec<PodSeen>),
    /// Host and port, like `127.16.0.3:8000`.
    Address(String),
    /// Text.
    Lines(Vec<String>),
    /// It is not done.
    Refused(Refusal),
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In words.
    pub why: String,
    /// The end of the log of the pods that it is about, if it is about any.
    #[serde(default)]
    pub log: Vec<String>,
}

/// An object by its kind and name, as text `Deployment/engine`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ObjectName {
    /// Group and version, like `apps/v1`; empty where the kind says enough.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A pod, as it was a moment ago.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// Which pod it is: another one of the same name has another.
    pub uid: String,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `Pending`, `Running`, `Succeeded`, `Failed`.
    pub phase: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is about to go.
    pub ending: bool,
    /// How often its containers restarted.
    pub restarts: u32,
}

// === impl ObjectName ===

impl ObjectName {
    /// One of a kind that is known by its name alone.
    #[must_use]
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { api_version: String::new(), kind: kind.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl FromStr for ObjectName {
    type Err = String;

    /// `Deployment/engine`, or with group and version in front: `chaos-mesh.org/v1alpha1/PodChaos/kill`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: expected KIND/NAME, like Deployment/engine");
        let (rest, name) = text.rsplit_once('/').ok_or_else(wrong)?;
        let (api_version, kind) = rest.rsplit_once('/').unwrap_or(("", rest));
        if kind.is_empty() || name.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl From<ObjectName> for String {
    fn from(object: ObjectName) -> Self {
        match object.api_version.as_str() {
            "" => object.to_string(),
            version => format!("{version}/{object}"),
        }
    }
}

impl TryFrom<String> for ObjectName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_one_word_there_and_back() {
        for text in ["Deployment/engine", "apps/v1/Deployment/engine", "v1/Pod/a"] {
            let object: ObjectName = text.parse().unwrap();
            assert_eq!(String::from(object.clone()), text);
            let line = serde_json::to_string(&object).unwrap();
            assert_eq!(serde_json::from_str::<ObjectName>(&line).unwrap(), object);
        }
        for text in ["engine", "/engine", "Deployment/"] {
            assert!(text.parse::<ObjectName>().unwrap_err().contains("KIND/NAME"), "{text}");
        }
    }
}
