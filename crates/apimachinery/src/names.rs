//! Which names, label keys and label values are allowed.
//!
//! Every check returns what is wrong, in the API server's words (Kubernetes 1.34); nothing when all is well.

/// Longest DNS label, label value, and name part of a label's key.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain: most objects' names.
pub const SUBDOMAIN_MAX: usize = 253;

const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_WHAT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_WHAT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_WHAT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";

/// What is wrong with a name.
pub type Wrong = Vec<String>;

fn too_long(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn by_pattern(what: &str, pattern: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|one| format!("'{one}', ")).collect();
    format!("{what} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_qualified(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.bytes().all(inner) && edge(text.bytes().next()) && edge(text.bytes().next_back())
}

/// A DNS label of RFC 1123: namespaces, containers, ports.
#[must_use]
pub fn dns_label(text: &str) -> Wrong {
    let mut wrong = Wrong::new();
    if text.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !is_label(text) {
        wrong.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            by_pattern(LABEL_WHAT, LABEL, &["my-name", "123-abc"])
        });
    }
    wrong
}

/// A DNS subdomain of RFC 1123: names of most objects.
#[must_use]
pub fn dns_subdomain(text: &str) -> Wrong {
    let mut wrong = Wrong::new();
    if text.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX));
    }
    if !is_subdomain(text) {
        wrong.push(by_pattern(SUBDOMAIN_WHAT, SUBDOMAIN, &["example.com"]));
    }
    wrong
}

/// A DNS label of RFC 1035, which starts with a letter: names of services.
#[must_use]
pub fn dns_1035_label(text: &str) -> Wrong {
    const WHAT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
    let mut wrong = Wrong::new();
    if text.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !is_label(text) || text.starts_with(|c: char| c.is_ascii_digit()) {
        wrong.push(by_pattern(WHAT, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    wrong
}

/// A label's key: a name, with a DNS prefix if it has one.
#[must_use]
pub fn qualified_name(text: &str) -> Wrong {
    let mut wrong = Wrong::new();
    let examples = ["MyName", "my.name", "123-abc"];
    let mut parts = text.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(
                    dns_subdomain(prefix).into_iter().map(|why| format!("prefix part {why}")),
                );
            }
            name
        }
        _ => {
            let what = by_pattern(QUALIFIED_WHAT, QUALIFIED, &examples);
            wrong.push(format!(
                "a qualified name {what} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return wrong;
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        wrong.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !is_qualified(name) {
        wrong.push(format!("name part {}", by_pattern(QUALIFIED_WHAT, QUALIFIED, &examples)));
    }
    wrong
}

/// A label's value.
#[must_use]
pub fn label_value(text: &str) -> Wrong {
    const WHAT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let mut wrong = Wrong::new();
    if text.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !text.is_empty() && !is_qualified(text) {
        let pattern = format!("({QUALIFIED})?");
        wrong.push(by_pattern(WHAT, &pattern, &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// A name that may stand in a URL's path: kinds without a stricter rule.
#[must_use]
pub fn path_segment(text: &str) -> Wrong {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    let bad = text.chars().find(|c| matches!(c, '/' | '%'));
    bad.map(|c| format!("may not contain '{c}'")).into_iter().collect()
}

/// A key of a ConfigMap or a Secret.
#[must_use]
pub fn config_key(text: &str) -> Wrong {
    let mut wrong = Wrong::new();
    if text.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX));
    }
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(inner) {
        let what = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        let examples = ["key.name", "KEY_NAME", "key-name"];
        wrong.push(by_pattern(what, "[-._a-zA-Z0-9]+", &examples));
    }
    match text {
        "." | ".." => wrong.push(format!("must not be '{text}'")),
        _ if text.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// The name of an environment variable: printable ASCII without `=`.
#[must_use]
pub fn env_name(text: &str) -> Wrong {
    if text.is_empty() || !text.bytes().all(|c| (0x20..0x7f).contains(&c) && c != b'=') {
        let what = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        return vec![what.to_owned()];
    }
    Wrong::new()
}

/// The name of a port (RFC 6335).
#[must_use]
pub fn port_name(text: &str) -> Wrong {
    const MAX: usize = 15;
    let mut wrong = Wrong::new();
    if text.len() > MAX {
        wrong.push(too_long(MAX));
    }
    if !text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        || text.is_empty()
    {
        wrong.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_with_dots_is_told_so() {
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert!(dns_label("a-b").is_empty());
        assert!(dns_label("-a")[0].starts_with("a lowercase RFC 1123 label must consist"));
    }

    #[test]
    fn label_keys_may_have_one_prefix() {
        assert!(qualified_name("app.kubernetes.io/name").is_empty());
        assert!(qualified_name("Name_1.x").is_empty());
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert!(qualified_name("a/b/c")[0].starts_with("a qualified name must consist"));
    }
}
