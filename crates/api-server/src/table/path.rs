//! JSONPath as definitions of custom resources use it: fields, indices, wildcards, and filters by equality.

use serde_json::Value;

/// The longest path that is read, in steps.
const STEPS: usize = 64;

/// A path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    /// From the end when negative.
    Index(i64),
    All,
    /// Items of which a field has a value.
    Where(Vec<String>, String),
}

impl Path {
    /// Reads a path like `.status.conditions[?(@.type=="Ready")].status`; none for one that is not understood.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim().trim_start_matches('{').trim_end_matches('}');
        rest = rest.strip_prefix('$').unwrap_or(rest);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if steps.len() == STEPS {
                return None;
            }
            if let Some(after) = rest.strip_prefix('[') {
                let end =
                    if after.starts_with('?') { after.find(")]")? + 1 } else { after.find(']')? };
                steps.push(bracket(&after[..end])?);
                rest = &after[end + 1..];
            } else {
                let (name, after) = word(rest.strip_prefix('.')?);
                rest = after;
                match name.as_str() {
                    "" => return None,
                    "*" => steps.push(Step::All),
                    _ => steps.push(Step::Field(name)),
                }
            }
        }
        Some(Self { steps })
    }

    /// What it finds in a value.
    pub(super) fn find<'a>(&self, value: &'a Value) -> impl Iterator<Item = &'a Value> + use<'a> {
        let mut found = vec![value];
        for step in &self.steps {
            found = found.into_iter().flat_map(|value| step.find(value)).collect();
        }
        found.into_iter()
    }
}

/// A field's name and what follows; a backslash takes the next letter as it is.
fn word(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
            '.' | '[' => return (name, &text[at..]),
            _ => name.push(letter),
        }
    }
    (name, "")
}

fn bracket(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = text.strip_prefix("?(") {
        let (path, value) = filter.strip_suffix(')')?.split_once("==")?;
        let path = path.trim().strip_prefix('@')?;
        let path = path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let value = value.trim().trim_matches(['"', '\'']).to_owned();
        return Some(Step::Where(path, value));
    }
    if let Some(name) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return Some(Step::Field(name.replace('\\', "")));
    }
    text.parse().ok().map(Step::Index)
}

impl Step {
    fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
            (Self::Index(index), Value::Array(list)) => {
                let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
                let at = if *index < 0 { index.saturating_add(length) } else { *index };
                usize::try_from(at).ok().and_then(|at| list.get(at)).into_iter().collect()
            }
            (Self::All, Value::Array(list)) => list.iter().collect(),
            (Self::All, Value::Object(map)) => map.values().collect(),
            (Self::Where(path, wanted), Value::Array(list)) => {
                let has = |item: &&Value| match path
                    .iter()
                    .fold(*item, |value, name| &value[name.as_str()])
                {
                    Value::String(text) => text == wanted,
                    Value::Null => false,
                    Value::Bool(on) => wanted == if *on { "true" } else { "false" },
                    Value::Number(number) => wanted.parse::<f64>().ok() == number.as_f64(),
                    _ => false,
                };
                list.iter().filter(has).collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_is_found_by_its_type() {
        let value = json!({"status": {"conditions": [
            {"type": "A", "status": "False"}, {"type": "Ready", "status": "True"},
        ], "a.b": [1, 2, 3]}});
        let find = |path: &str| {
            Path::parse(path).map(|path| path.find(&value).cloned().collect::<Vec<_>>())
        };
        let ready = find(r#".status.conditions[?(@.type=="Ready")].status"#);
        assert_eq!(ready, Some(vec![json!("True")]));
        assert_eq!(find(r".status.a\.b[-1]"), Some(vec![json!(3)]));
        assert_eq!(find("{.status.conditions[*].type}").unwrap().len(), 2);
        assert_eq!(find(".status.missing.more"), Some(vec![]));
        assert_eq!(find("status"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_path_or_none(text in ".{0,40}", value in "[\\[\\].?(@)=*'a0-9\\\\-]{0,20}") {
            for text in [text, value] {
                if let Some(path) = Path::parse(&text) {
                    path.find(&json!({"a": [1, {"a": 2}]})).count();
                }
            }
        }
    }
}
