//! Rows and columns for people: what `kubectl get` shows.
//!
//! Names, types and contents of columns are those of kube-apiserver 1.34 (`as=Table`).

mod age;
mod cells;
mod columns;
mod custom;
mod path;
mod pod;
mod workloads;

use apimachinery::Kind;
use jiff::Timestamp;
use object_store::Store;
use serde_json::{Value, json};

use custom::Column as CustomColumn;

/// Which part of an object a row carries: `includeObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// Reads the query's value.
    pub(crate) fn parse(text: Option<&str>) -> Self {
        match text {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// How objects of a kind become rows.
pub(crate) struct Table {
    columns: Vec<Value>,
    custom: Option<Vec<CustomColumn>>,
    include: Include,
    kind: String,
    group: String,
}

impl Table {
    /// The table of a kind.
    pub(crate) fn of(store: &Store, kind: &Kind, include: Include) -> Self {
        let own = columns::of(&kind.group, &kind.kind);
        let custom = own.is_none().then(|| custom::columns(store, kind));
        let columns = match (&own, &custom) {
            (Some(own), _) => own.iter().map(columns::json).collect(),
            (None, Some(custom)) => {
                let mut all = vec![columns::name()];
                all.extend(custom.iter().map(CustomColumn::json));
                all
            }
            (None, None) => Vec::new(),
        };
        let (kind, group) = (kind.kind.clone(), kind.group.clone());
        Self { columns, custom, include, kind, group }
    }

    /// A table of rows. `columns`: with what they are called; a watch says that once.
    pub(crate) fn json(&self, metadata: &Value, rows: Vec<Value>, columns: bool) -> Value {
        json!({
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "columnDefinitions": if columns { json!(self.columns) } else { Value::Null },
            "rows": rows,
        })
    }

    /// An object's row.
    pub(crate) fn row(&self, object: &Value, now: Timestamp) -> Value {
        let cells = match &self.custom {
            Some(columns) => custom::cells(columns, object, now),
            None => cells::of(&self.group, &self.kind, object, now),
        };
        let mut row = json!({"cells": cells});
        match self.include {
            Include::None => {}
            Include::Object => row["object"] = object.clone(),
            Include::Metadata => {
                row["object"] = json!({
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": object["metadata"],
                });
            }
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables and objects as kube-apiserver 1.34.3 showed them.
    const RECORDED: &str = include_str!("recorded.json");

    #[test]
    fn columns_and_cells_are_those_of_a_real_server() {
        let recorded: Vec<Value> = serde_json::from_str(RECORDED).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut rows = 0;
        for table in &recorded {
            let (group, kind) = (text(&table["group"]), text(&table["kind"]));
            let own = columns::of(&group, &kind).unwrap_or_else(|| panic!("no table for {kind}"));
            let named: Vec<Value> = own
                .iter()
                .map(columns::json)
                .map(|one| json!([one["name"], one["type"], one["format"], one["priority"]]))
                .collect();
            assert_eq!(json!(named), table["columns"], "{kind}");
            for row in table["rows"].as_array().unwrap() {
                let cells = cells::of(&group, &kind, &row["object"], Timestamp::now());
                assert_eq!(cells.len(), own.len(), "{kind}");
                for ((name, ..), (ours, theirs)) in
                    own.iter().zip(cells.iter().zip(row["cells"].as_array().unwrap()))
                {
                    // Ages depend on when one looks.
                    if !matches!(
                        *name,
                        "Age" | "Last Seen" | "First Seen" | "Duration" | "Restarts"
                    ) {
                        assert_eq!(
                            ours, theirs,
                            "{kind} {}: {name}",
                            row["object"]["metadata"]["name"]
                        );
                    }
                }
                rows += 1;
            }
        }
        assert!(rows > 20, "the recording has {rows} rows");
    }

    #[test]
    fn a_pod_is_said_to_be_what_its_containers_are() {
        let pod = |status: Value| {
            let pod = json!({
                "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {
                    "initContainers": [{"name": "i"}],
                    "containers": [{"name": "a"}, {"name": "b"}],
                },
                "status": status,
            });
            let now = "2026-01-01T01:00:00Z".parse().unwrap();
            let cells = cells::of("", "Pod", &pod, now);
            cells[1..5].iter().map(|one| one.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let ended = json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:59:00Z"}});
        let waiting = pod(json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "restartCount": 2, "lastState": ended, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        ]}));
        assert_eq!(waiting, ["0/2", "Init:CrashLoopBackOff", "2 (60s ago)", "60m"]);
        let half = pod(json!({"phase": "Running", "containerStatuses": [
            {"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}},
            {"name": "b", "ready": false, "restartCount": 1, "state": ended},
        ]}));
        assert_eq!(half, ["1/2", "ExitCode:1", "1", "60m"]);
        assert_eq!(pod(json!({"phase": "Pending"})), ["0/2", "Pending", "0", "60m"]);
    }
}
