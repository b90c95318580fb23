//! `$(NAME)` in commands, arguments and variables, as Kubernetes expands it.
//!
//! `$$` is a `$`; a name that is not known stays as it stands (API reference, `Container.command`).

/// Expands one text.
pub(crate) fn expand<'a>(text: &str, value: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match value(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_host(text: &str) -> String {
        expand(text, |name| (name == "HOST").then_some("127.0.0.1"))
    }

    #[test]
    fn expands_as_kubernetes_does() {
        // From the test table of k8s.io/kubernetes/third_party/forked/golang/expansion.
        for (input, expected) in [
            ("--host=$(HOST)", "--host=127.0.0.1"),
            ("$$(HOST)", "$(HOST)"),
            ("$$$(HOST)", "$127.0.0.1"),
            ("$(OTHER)-$(HOST)", "$(OTHER)-127.0.0.1"),
            ("$(HOST", "$(HOST"),
            ("$HOST $", "$HOST $"),
            ("$($(HOST))", "$($(HOST))"),
        ] {
            assert_eq!(with_host(input), expected, "{input}");
        }
    }

    proptest! {
        #[test]
        fn a_text_without_a_dollar_stays(text in "[^$]*") {
            prop_assert_eq!(with_host(&text), text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[$()A-Z]{0,40}") {
            let _any_answer = with_host(&text);
        }
    }
}
