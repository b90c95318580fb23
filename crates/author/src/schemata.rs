//! Many wrong answers in one program: each function that they change has all of their bodies, and one of them, or the
//! reference's, is chosen when the program starts.
//!
//! What changes more than bodies of functions, or could not be chosen at run time, is [`Apart`]: a program of its own.
//! Pure: files in, files out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use course::Files;

use crate::bodies::{Outline, outline, tokens};

/// The environment variable that says which wrong answer a program gives: a number from 1. Without it, the right one.
pub(crate) const SWITCH: &str = "AUTHOR_MUTANT";
/// The root of the library that the checks are part of.
const ROOT: &str = "src/lib.rs";

/// A function's body as a mutant has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    file: PathBuf,
    /// Which body of the file, from 0.
    body: usize,
    /// Its text, braces included.
    text: String,
}

/// Why a mutant cannot be one of many in a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Apart {
    #[error("{} changes more than bodies of functions", .0.display())]
    Around(PathBuf),
    #[error("{} changes {}", .0.display(), .1)]
    Fixed(PathBuf, &'static str),
    #[error("{} cannot be read: {}", .0.display(), .1)]
    NotRust(PathBuf, String),
    #[error("it changes nothing that the compiler sees")]
    NoChange,
}

/// The bodies that a mutant changes.
///
/// # Errors
/// [`Apart`] where that is not all that it changes, or it changes none.
pub(crate) fn changes(reference: &Files, mutant: &Files) -> Result<Vec<Change>, Apart> {
    let mut changes = Vec::new();
    for (file, theirs) in mutant {
        let Some(ours) = reference.get(file) else { return Err(Apart::Around(file.clone())) };
        if ours == theirs {
            continue;
        }
        let ((ours, before), (theirs, after)) = (read(file, ours)?, read(file, theirs)?);
        if before.around != after.around {
            return Err(Apart::Around(file.clone()));
        }
        let not_rust = |problem| Apart::NotRust(file.clone(), problem);
        for (index, (old, new)) in before.bodies.iter().zip(&after.bodies).enumerate() {
            let (old_text, new_text) = (&ours[old.range.clone()], &theirs[new.range.clone()]);
            if tokens(old_text).map_err(not_rust)? == tokens(new_text).map_err(not_rust)? {
                continue;
            }
            if let Some(fixed) = old.fixed.or(new.fixed) {
                return Err(Apart::Fixed(file.clone(), fixed));
            }
            changes.push(Change { file: file.clone(), body: index, text: new_text.to_owned() });
        }
    }
    if changes.is_empty() { Err(Apart::NoChange) } else { Ok(changes) }
}

/// The reference, and every mutant's bodies beside its own, to be chosen by [`SWITCH`]: the first mutant is number 1.
///
/// # Errors
/// [`Apart`] where the reference cannot be read.
pub(crate) fn combined(reference: &Files, mutants: &[&[Change]]) -> Result<Files, Apart> {
    let mut arms: BTreeMap<&Path, BTreeMap<usize, String>> = BTreeMap::new();
    for (number, changes) in (1_usize..).zip(mutants) {
        for Change { file, body, text } in *changes {
            let arms = arms.entry(file).or_default().entry(*body).or_default();
            *arms += &format!("{number} => return {text},\n");
        }
    }
    let mut files = reference.clone();
    for (file, arms) in arms {
        let content = files.get_mut(file).ok_or_else(|| Apart::Around(file.to_owned()))?;
        let (text, outline) = read(file, content)?;
        let mut switched = String::new();
        let mut end = 0;
        for (body, arms) in arms {
            let Some(body) = outline.bodies.get(body) else {
                return Err(Apart::Around(file.to_owned()));
            };
            let begin = body.range.start + 1;
            switched += &text[end..begin];
            switched += &format!("\nmatch crate::author_switch::number() {{\n{arms}_ => {{}}\n}}");
            end = begin;
        }
        switched += &text[end..];
        *content = switched.into_bytes();
    }
    let root = files.get_mut(Path::new(ROOT)).ok_or_else(|| Apart::Around(ROOT.into()))?;
    root.extend(switch_module().as_bytes());
    Ok(files)
}

fn read<'t>(file: &Path, content: &'t [u8]) -> Result<(&'t str, Outline), Apart> {
    let not_rust = |problem| Apart::NotRust(file.to_owned(), problem);
    let text = str::from_utf8(content).map_err(|error| not_rust(error.to_string()))?;
    Ok((text, outline(text).map_err(not_rust)?))
}

/// What the combined program asks. Whatever the variable says that is no number is the right answer: a mutant that was
/// not switched on is seen to survive, and is then tried alone.
fn switch_module() -> String {
    format!(
        r#"
/// Which wrong answer this program gives.
mod author_switch {{
    static NUMBER: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {{
        std::env::var("{SWITCH}").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
    }});

    pub(crate) fn number() -> u32 {{
        *NUMBER
    }}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "src/a.rs";
    const TEXT: &str = "pub fn one(x: u8) -> u8 {\n    // Same.\n    x\n}\n\npub fn two() {\n    one(1);\n}\n\
                        pub const fn three() -> u8 {\n    3\n}\n";

    fn files(text: &str) -> Files {
        let root = (ROOT.into(), b"mod a;\n".to_vec());
        [root, (FILE.into(), text.as_bytes().to_vec())].into()
    }

    /// What a mutant changes that has `to` for `from`.
    fn changed(edits: &[(&str, &str)]) -> Result<Vec<Change>, Apart> {
        let mut text = TEXT.to_owned();
        for (from, to) in edits {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            text = text.replace(from, to);
        }
        changes(&files(TEXT), &files(&text))
    }

    fn change(body: usize, text: &str) -> Change {
        Change { file: FILE.into(), body, text: text.to_owned() }
    }

    #[test]
    fn a_mutant_of_one_function_is_its_body() {
        let expected = [change(0, "{\n    // Same.\n    x + 1\n}")];
        assert_eq!(changed(&[("    x\n", "    x + 1\n")]).unwrap(), expected);
    }

    #[test]
    fn a_mutant_of_two_functions_is_both_bodies() {
        let found = changed(&[("    // Same.\n    x\n", "2"), ("one(1);", "")]).unwrap();
        assert_eq!(found, [change(0, "{\n2}"), change(1, "{\n    \n}")]);
    }

    #[test]
    fn what_changes_more_than_bodies_is_apart() {
        let apart = Err(Apart::Around(FILE.into()));
        assert_eq!(changed(&[("x: u8", "mut x: u8")]), apart);
        assert_eq!(changed(&[("one(1);", "help();\n}\nfn help() {")]), apart);
        let foreign = files(TEXT).into_iter().chain([("src/b.rs".into(), Vec::new())]).collect();
        assert_eq!(changes(&files(TEXT), &foreign), Err(Apart::Around("src/b.rs".into())));
    }

    #[test]
    fn what_cannot_be_chosen_at_run_time_or_read_is_apart() {
        assert!(matches!(changed(&[("    3\n", "    4\n")]), Err(Apart::Fixed(..))));
        assert!(matches!(changed(&[("    x\n", "    x +\n")]), Err(Apart::NotRust(..))));
    }

    #[test]
    fn a_mutant_that_the_compiler_does_not_see_is_an_error() {
        assert_eq!(changed(&[]), Err(Apart::NoChange));
        assert_eq!(changed(&[("// Same.", "// Other.")]), Err(Apart::NoChange));
    }

    #[test]
    fn the_combined_program_has_every_body_and_the_reference_last() {
        let both = changed(&[("    // Same.\n    x\n", "2"), ("one(1);", "")]).unwrap();
        let one = changed(&[("    // Same.\n    x\n", "9")]).unwrap();
        let files = combined(&files(TEXT), &[both.as_slice(), &one]).unwrap();
        let text = str::from_utf8(&files[Path::new(FILE)]).unwrap();
        let expected = "pub fn one(x: u8) -> u8 {\nmatch crate::author_switch::number() {\n\
                        1 => return {\n2},\n2 => return {\n9},\n_ => {}\n}\n    // Same.\n    x\n}\n\n\
                        pub fn two() {\nmatch crate::author_switch::number() {\n\
                        1 => return {\n    \n},\n_ => {}\n}\n    one(1);\n}\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(outline(text).is_ok(), "{text}");
        let root = str::from_utf8(&files[Path::new(ROOT)]).unwrap();
        assert!(root.contains("env::var(\"AUTHOR_MUTANT\")"), "{root}");
    }
}
