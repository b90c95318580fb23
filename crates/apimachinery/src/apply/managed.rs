//! `metadata.managedFields`: who owns which fields.

use serde_json::{Map, Value, json};

use super::set::FieldSet;
use crate::Meta;

/// Most managers that update; the oldest are merged into [`ANCIENT`]. As in Kubernetes.
const MOST_UPDATERS: usize = 10;
/// The manager of merged entries.
const ANCIENT: &str = "ancient-changes";

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Everything else.
    Update,
}

/// One manager's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: Option<String>,
    pub(super) fields: FieldSet,
}

impl Entry {
    /// Whether two entries are the same manager's: an applier is one whatever version it applies.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// As conflicts name it.
    pub(super) fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }

    fn read(json: &Value) -> Option<Self> {
        let text = |field: &str| json[field].as_str().unwrap_or("").to_owned();
        let operation = match json["operation"].as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if json["fieldsType"] != "FieldsV1" || text("apiVersion").is_empty() {
            return None;
        }
        let fields = match json.get("fieldsV1") {
            Some(fields) => FieldSet::from_json(fields)?,
            None => FieldSet::default(),
        };
        Some(Self {
            manager: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: json["time"].as_str().map(str::to_owned),
            fields,
        })
    }

    fn write(&self) -> Value {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
        put("manager", json!(self.manager));
        put(
            "operation",
            json!(if self.operation == Operation::Apply { "Apply" } else { "Update" }),
        );
        put("apiVersion", json!(self.api_version));
        if let Some(time) = &self.time {
            put("time", json!(time));
        }
        put("fieldsType", json!("FieldsV1"));
        put("fieldsV1", self.fields.to_json());
        if !self.subresource.is_empty() {
            put("subresource", json!(self.subresource));
        }
        Value::Object(map)
    }
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Managed(pub(super) Vec<Entry>);

impl Managed {
    /// Reads an object's; none when an entry is wrong.
    pub(super) fn read(object: &Value) -> Option<Self> {
        let list = object["metadata"]["managedFields"].as_array();
        list.into_iter().flatten().map(Entry::read).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Those that a write starts from: the request's own if it sends some, else the newest version's; none at all if the
    /// request resets them with `[]` or `[{}]`.
    pub(super) fn before(old: &Value, new: &Value, main: bool) -> Self {
        let known = || Self::read(old).unwrap_or_default();
        if !main {
            return known();
        }
        let sent = new["metadata"].get("managedFields").and_then(Value::as_array);
        let reset = sent.is_some_and(|list| match list.as_slice() {
            [] => true,
            [one] => one.as_object().is_some_and(|map| map.values().all(Value::is_null)),
            _ => false,
        });
        if reset {
            return Self::default();
        }
        match Self::read(new) {
            Some(sent) if !sent.0.is_empty() => sent,
            _ => known(),
        }
    }

    /// Writes them into an object, in Kubernetes' order.
    pub(super) fn write(mut self, object: &mut Value) {
        self.0.retain(|entry| !entry.fields.is_empty());
        self.0.sort_by(|one, two| {
            one.operation
                .cmp(&two.operation)
                .then_with(|| one.time.cmp(&two.time))
                .then_with(|| one.manager.cmp(&two.manager))
                .then_with(|| one.api_version.cmp(&two.api_version))
                .then_with(|| one.subresource.cmp(&two.subresource))
        });
        let metadata = object.metadata_mut();
        if self.0.is_empty() {
            metadata.remove("managedFields");
        } else {
            let all = self.0.iter().map(Entry::write).collect();
            metadata.insert("managedFields".to_owned(), Value::Array(all));
        }
    }

    /// Merges the oldest updaters while there are too many.
    pub(super) fn cap(&mut self, api_version: &str) {
        loop {
            let mut updaters: Vec<usize> = (0..self.0.len())
                .filter(|at| {
                    self.0[*at].operation == Operation::Update
                        && self.0[*at].api_version == api_version
                })
                .collect();
            if updaters.len() <= MOST_UPDATERS {
                return;
            }
            updaters.sort_by_key(|at| (self.0[*at].time.clone(), self.0[*at].manager.clone()));
            let (one, two) = (updaters[0], updaters[1]);
            let merged = Entry {
                manager: ANCIENT.to_owned(),
                operation: Operation::Update,
                api_version: api_version.to_owned(),
                subresource: String::new(),
                time: self.0[two].time.clone(),
                fields: self.0[one].fields.union(&self.0[two].fields),
            };
            self.0.remove(one.max(two));
            self.0.remove(one.min(two));
            self.0.push(merged);
        }
    }
}
