//! From an image's name to a local program.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::config::Image;

/// Files that are read of a folder of images.
const MOST_FILES: usize = 1000;
/// Bytes that one of them may have.
const FILE_BYTES: u64 = 64 << 10;

/// Tags may be left out of a pattern, and so may the registry that everybody means.
const DEFAULT_REGISTRIES: [&str; 3] = ["docker.io/library/", "docker.io/", "localhost/"];

/// The image that a container's `image` names: the first that fits.
pub(crate) fn find<'a>(images: &'a [Image], name: &str) -> Option<&'a Image> {
    let registry = DEFAULT_REGISTRIES.iter().find_map(|registry| name.strip_prefix(registry));
    let short = registry.unwrap_or(name);
    let forms = [name, without_tag(name), short, without_tag(short)];
    images.iter().find(|image| forms.iter().any(|form| fits(&image.pattern, form)))
}

/// The image that a container's `image` names, among those of a folder. Files that cannot be read are as if they were not
/// there: whoever writes them may be at it.
pub(crate) fn find_in(folder: &Path, name: &str) -> Option<Image> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).take(MOST_FILES);
    let paths = files.map(|file| file.path());
    let images: Vec<Image> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|path| {
            let mut text = String::new();
            File::open(path).ok()?.take(FILE_BYTES).read_to_string(&mut text).ok()?;
            serde_json::from_str(&text).ok()
        })
        .collect();
    find(&images, name).cloned()
}

/// `repository:tag@digest` without tag and digest. A colon before a slash belongs to the registry's port.
fn without_tag(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// Whether `*` of a pattern can stand for what the name has there.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = name.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    let mut rest = rest;
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image(pattern: &str) -> Image {
        let (args, env) = (Vec::new(), Default::default());
        Image { pattern: pattern.into(), program: "x".into(), args, env }
    }

    #[test]
    fn tag_digest_and_default_registry_may_be_left_out() {
        let images = [image("llm-lab/engine"), image("registry:5000/a:v1"), image("stub*")];
        let found = |name| find(&images, name).map(|image| image.pattern.as_str());
        assert_eq!(found("llm-lab/engine:v3"), Some("llm-lab/engine"));
        assert_eq!(found("docker.io/llm-lab/engine@sha256:00"), Some("llm-lab/engine"));
        assert_eq!(found("registry:5000/a:v1"), Some("registry:5000/a:v1"));
        assert_eq!(found("registry:5000/a:v2"), None);
        assert_eq!(found("stub-of-mine:latest"), Some("stub*"));
        assert_eq!(found("vllm/engine"), None);
    }

    #[test]
    fn an_image_can_come_later_as_a_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find_in(folder.path(), "mine"), None);
        let file = folder.path().join("mine.json");
        std::fs::write(&file, r#"{"pattern":"mine","program":"/bin/mine"}"#).unwrap();
        std::fs::write(folder.path().join("half.json"), "{").unwrap();
        let found = find_in(folder.path(), "mine:v2").unwrap();
        assert_eq!(found.program, Path::new("/bin/mine"));
    }

    proptest! {
        #[test]
        fn a_pattern_of_stars_between_the_parts_of_a_name_fits(parts in prop::collection::vec("[a-c/]{0,3}", 1..5)) {
            prop_assert!(fits(&parts.join("*"), &parts.join("bca")));
            prop_assert!(fits(&parts.join("*"), &parts.join("")));
        }

        #[test]
        fn any_two_texts_can_be_compared(pattern in "[*a:/@]{0,20}", name in ".{0,20}") {
            let _any_answer = fits(&pattern, &name);
            let _some_text = without_tag(&name);
        }
    }
}
