//! Field selectors: a few fields of each kind can be selected by, as in Kubernetes 1.34.

use serde_json::Value;

use crate::{Kind, Status};

/// Fields by kind, beside the name and the namespace.
const FIELDS: &[(&str, &str, &[&str])] = &[
    (
        "",
        "Pod",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
    ),
    ("", "Node", &["spec.unschedulable"]),
    ("", "Namespace", &["status.phase"]),
    ("", "Secret", &["type"]),
    ("", "Service", &["spec.clusterIP", "spec.type"]),
    (
        "",
        "Event",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    ("apps", "ReplicaSet", &["status.replicas"]),
    ("batch", "Job", &["status.successful"]),
];

/// Requirements of fields that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// Path, value, and whether they must be equal.
    requirements: Vec<(String, String, bool)>,
}

impl FieldSelector {
    /// Reads a text like `metadata.name=a,status.phase!=Running` for a kind. `columns`: further paths without their leading
    /// dot that a custom resource declares (`selectableFields`).
    ///
    /// # Errors
    /// 400 in the API server's words, for a field that this kind cannot be selected by too.
    pub fn parse(kind: &Kind, columns: &[String], text: &str) -> Result<Self, Status> {
        let mut requirements = Vec::new();
        for term in terms(text).iter().filter(|term| !term.is_empty()) {
            let (path, value, equal) = split(term).ok_or_else(|| {
                Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                ))
            })?;
            let value = unescape(value).ok_or_else(|| {
                Status::bad_request(format!(
                    "invalid field selector: invalid escape sequence in '{value}'"
                ))
            })?;
            supported(kind, columns, path)?;
            requirements.push((path.to_owned(), value, equal));
        }
        Ok(Self { requirements })
    }

    /// Everything is meant.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The name that every match has: then one object is meant, and need not be searched for.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.required("metadata.name")
    }

    /// The value that a field of every match has.
    #[must_use]
    pub fn required(&self, path: &str) -> Option<&str> {
        let found = self.requirements.iter().find(|(at, _, equal)| *equal && at == path);
        found.map(|(_, value, _)| value.as_str())
    }

    /// Whether an object satisfies it. An absent field is empty text.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.requirements
            .iter()
            .all(|(path, value, equal)| (field(object, path) == *value) == *equal)
    }
}

fn supported(kind: &Kind, columns: &[String], path: &str) -> Result<(), Status> {
    let named = path == "metadata.name" || (path == "metadata.namespace" && kind.is_namespaced());
    let known = FIELDS.iter().find(|(group, name, _)| *group == kind.group && *name == kind.kind);
    let listed = known.is_some_and(|(_, _, fields)| fields.contains(&path));
    if named || listed || columns.iter().any(|column| column == path) {
        return Ok(());
    }
    Err(Status::bad_request(match known {
        Some((_, "Job", _)) => format!("field label {path:?} not supported for Job"),
        Some(_) => format!("field label not supported: {path}"),
        None if kind.group.contains('.') && !kind.group.ends_with(".k8s.io") => {
            format!("field label not supported: {path}")
        }
        None => format!(
            "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ),
    }))
}

/// A field's text, as selectors see it.
fn field(object: &Value, path: &str) -> String {
    match path {
        "spec.unschedulable" | "spec.hostNetwork" => {
            at(object, path).as_bool().unwrap_or(false).to_string()
        }
        "source" => {
            let source = at(object, "source.component").as_str().unwrap_or("");
            let reporting = at(object, "reportingComponent").as_str().unwrap_or("");
            if source.is_empty() { reporting.to_owned() } else { source.to_owned() }
        }
        "status.successful" => at(object, "status.succeeded").as_i64().unwrap_or(0).to_string(),
        "status.replicas" => at(object, path).as_i64().unwrap_or(0).to_string(),
        "status.podIPs" => at(object, "status.podIP").as_str().unwrap_or("").to_owned(),
        _ => match at(object, path) {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => String::new(),
        },
    }
}

fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, name| &value[name])
}

/// Splits at commas that are not escaped.
fn terms(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                found.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    found
}

fn split(term: &str) -> Option<(&str, &str, bool)> {
    let i = term.find(['!', '='])?;
    let rest = &term[i..];
    let operators = [("!=", false), ("==", true), ("=", true)];
    let (operator, equal) = operators.into_iter().find(|(text, _)| rest.starts_with(text))?;
    Some((&term[..i], &rest[operator.len()..], equal))
}

/// Takes backslashes off: only `\\`, `\,` and `\=` are known.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        match c {
            '\\' => match letters.next()? {
                c @ ('\\' | ',' | '=') => plain.push(c),
                _ => return None,
            },
            ',' | '=' => return None,
            c => plain.push(c),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(group: &str, plural: &str, text: &str) -> Result<FieldSelector, String> {
        let kinds = builtin::kinds();
        let kind = kinds.iter().find(|kind| kind.group == group && kind.plural == plural).unwrap();
        FieldSelector::parse(kind, &[], text).map_err(|error| error.message)
    }

    #[test]
    fn fields_of_other_kinds_are_refused_in_the_real_words() {
        assert_eq!(
            parse("", "pods", "spec.foo=bar").unwrap_err(),
            "field label not supported: spec.foo"
        );
        assert_eq!(
            parse("", "pods", "x").unwrap_err(),
            "invalid selector: 'x'; can't understand 'x'"
        );
        assert_eq!(
            parse("apps", "deployments", "spec.replicas=1").unwrap_err(),
            "\"spec.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert!(parse("", "pods", ",").unwrap().is_everything());
    }

    #[test]
    fn absent_fields_read_as_empty_or_as_their_zero() {
        let pod = json!({"metadata": {"name": "a"}, "status": {"phase": "Pending"}});
        assert!(parse("", "pods", "spec.nodeName=,status.phase!=Running").unwrap().matches(&pod));
        let node = json!({"metadata": {"name": "a"}});
        assert!(parse("", "nodes", "spec.unschedulable=false").unwrap().matches(&node));
        assert_eq!(parse("", "pods", "metadata.name==a").unwrap().name(), Some("a"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-c=!\\\\,.]{0,30}") {
            let _: Result<_, _> = parse("", "pods", &text);
        }
    }
}
