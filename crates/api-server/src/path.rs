//! What a path of the API names.

use percent_encoding::percent_decode_str;

/// What a path below `/api/v1` or `/apis/GROUP/VERSION` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    /// The plural.
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    /// What is below the object.
    pub(crate) below: Vec<String>,
}

/// A path's parts, decoded; none when it is no text.
pub(crate) fn segments(path: &str) -> Option<Vec<String>> {
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(|part| percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned))
        .collect()
}

impl Target {
    /// Reads the parts after the version.
    pub(crate) fn parse(group: &str, version: &str, rest: &[String]) -> Option<Self> {
        let target = |namespace: Option<&String>, rest: &[String]| {
            let (resource, rest) = rest.split_first()?;
            Some(Self {
                group: group.to_owned(),
                version: version.to_owned(),
                namespace: namespace.cloned(),
                resource: resource.clone(),
                name: rest.first().cloned(),
                below: rest.get(1..).unwrap_or_default().to_vec(),
            })
        };
        match rest {
            // Below a namespace's name there are its own subresources, and everything that lives in it.
            [namespaces, _, below] if namespaces == "namespaces" && is_of_namespace(below) => {
                target(None, rest)
            }
            [namespaces, namespace, _, ..] if namespaces == "namespaces" => {
                target(Some(namespace), &rest[2..])
            }
            _ => target(None, rest),
        }
    }
}

fn is_of_namespace(below: &str) -> bool {
    matches!(below, "status" | "finalize")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Target {
        Target::parse("", "v1", &segments(path).unwrap()).unwrap()
    }

    #[test]
    fn a_namespace_is_an_object_and_a_place() {
        let place = parse("namespaces/x/pods/a/log");
        assert_eq!(place.namespace.as_deref(), Some("x"));
        assert_eq!((place.resource.as_str(), place.name.as_deref()), ("pods", Some("a")));
        assert_eq!(place.below, ["log"]);
        let object = parse("namespaces/x/finalize");
        assert_eq!((object.namespace, object.resource.as_str()), (None, "namespaces"));
        assert_eq!(object.name.as_deref(), Some("x"));
        assert_eq!(parse("nodes/a%2Fb").name.as_deref(), Some("a/b"));
    }
}
