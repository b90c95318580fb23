//! From a solution to the starter that a learner begins with. Pure: files in, files out.

use std::path::Path;

use crate::{
    CourseError, Files, Lab, Side, TaskId, formatted, is_check, readme, regions, solution_files,
};

/// What a starter's manifest has in place of the workspace's lints. An unfinished lab has unused imports,
/// arguments and fields, and code behind a `todo!()`: no compiler should complain about those to a learner.
const LINTS: &str = r#"[lints.rust]
unfulfilled_lint_expectations = "allow"
unused = { level = "allow", priority = -1 }

[lints.clippy]
diverging_sub_expression = "allow"
extra_unused_lifetimes = "allow"
extra_unused_type_parameters = "allow"
needless_lifetimes = "allow"
needless_pass_by_ref_mut = "allow"
new_without_default = "allow"
ptr_arg = "allow"
todo = "allow"
"#;

/// The complete folder of the generated lab, ready to be written to `labs/`.
///
/// # Errors
/// [`CourseError`] where the solution cannot be read, or cannot be turned into a starter.
pub fn starter(lab: &Lab) -> Result<Files, CourseError> {
    let solution = solution_files(lab)?;
    let tasks: Vec<TaskId> = lab.tasks.iter().map(|task| task.id).collect();
    let holes = as_lab(lab, empty_tasks(lab, &solution, &tasks)?)?;
    formatted(holes, &solution, &lab.root)
}

/// The files with the regions of some tasks emptied: each becomes `todo!("task 1.3")`, its markers stay.
///
/// # Errors
/// [`CourseError::Source`] where a region of `lab.toml`'s tasks is not in these files.
pub fn empty_tasks(lab: &Lab, files: &Files, tasks: &[TaskId]) -> Result<Files, CourseError> {
    let mut files = files.clone();
    for task in lab.tasks.iter().filter(|task| tasks.contains(&task.id)) {
        for own in &task.regions {
            let name = &own.region.name;
            let wrong = |problem| CourseError::Source { file: own.file.clone(), problem };
            let content = files.get_mut(&own.file).ok_or_else(|| wrong("is missing".to_owned()))?;
            let emptied =
                str::from_utf8(content).ok().and_then(|text| emptied(text, name, task.id));
            *content = emptied.ok_or_else(|| wrong(format!("has no region {name}")))?.into_bytes();
        }
    }
    Ok(files)
}

/// The text with one region emptied.
fn emptied(text: &str, name: &str, id: TaskId) -> Option<String> {
    let region = regions::find(text, name)?;
    // The hole has to compile: it ends its block, or it is a statement that others follow.
    let mut after = text[region.body.end..].lines().skip(1).map(str::trim);
    let next = after.find(|line| !line.is_empty() && !line.starts_with("//"));
    let end = if next.is_none_or(|line| line.starts_with(['}', ')', ']'])) { "" } else { ";" };
    let body = format!("{}{}{end}\n", region.indent, todo_line(id));
    regions::replace(text, name, &body)
}

/// What stands for the code of a task that is not written yet.
#[must_use]
pub fn todo_line(id: TaskId) -> String {
    format!("todo!(\"task {id}\")")
}

/// The files of a solution under the lab's names (`sol01` becomes `lab01`), with a manifest that allows
/// unfinished code and with a README for the learner. Checks stay as they are, byte for byte.
///
/// # Errors
/// [`CourseError::Source`] where the manifest has no `[lints]`, or a check names the solution's package.
pub fn as_lab(lab: &Lab, files: Files) -> Result<Files, CourseError> {
    let (from, to) = (lab.prefix(Side::Solution), lab.prefix(Side::Learner));
    let mut renamed = Files::new();
    for (path, content) in files {
        let wrong = |problem: &str| {
            let file = lab.dir(Side::Solution).join(&path);
            CourseError::Source { file, problem: problem.to_owned() }
        };
        let content = match String::from_utf8(content) {
            Ok(text) if is_check(&path) => {
                if text.contains(&from) {
                    return Err(wrong("names the solution's package: use `crate::` in checks"));
                }
                text.into_bytes()
            }
            Ok(text) if path == Path::new("Cargo.toml") => {
                let text = text.replace(&from, &to);
                let text = with_lints(&text).ok_or_else(|| wrong("has no [lints]"))?;
                with_description(&text, lab).into_bytes()
            }
            Ok(text) => text.replace(&from, &to).into_bytes(),
            Err(binary) => binary.into_bytes(),
        };
        renamed.insert(path, content);
    }
    renamed.insert("README.md".into(), readme::readme(lab).into_bytes());
    Ok(renamed)
}

/// The manifest with [`LINTS`] in place of its own lints; `None` where it has none.
fn with_lints(manifest: &str) -> Option<String> {
    let mut kept = String::new();
    let (mut in_lints, mut found) = (false, false);
    for line in manifest.split_inclusive('\n') {
        let header = line.trim();
        if header.starts_with('[') {
            in_lints = header == "[lints]" || header.starts_with("[lints.");
            found |= in_lints;
        }
        if !in_lints {
            kept.push_str(line);
        }
    }
    found.then(|| format!("{}\n\n{LINTS}", kept.trim_end()))
}

/// The manifest with the lab's own description.
fn with_description(manifest: &str, lab: &Lab) -> String {
    let describe = |line: &str| {
        if line.starts_with("description = ") {
            format!("description = \"Lab {}: {}\"\n", lab.number, lab.title)
        } else {
            line.to_owned()
        }
    };
    manifest.split_inclusive('\n').map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TaskId = TaskId { lab: 1, task: 2 };

    #[test]
    fn a_hole_that_ends_its_block_is_its_value() {
        let text =
            "fn f() -> u8 {\n    // ANCHOR: a\n    let x = 1;\n    x\n    // ANCHOR_END: a\n}\n";
        assert_eq!(
            emptied(text, "a", ID).unwrap(),
            "fn f() -> u8 {\n    // ANCHOR: a\n    todo!(\"task 1.2\")\n    // ANCHOR_END: a\n}\n"
        );
    }

    #[test]
    fn a_hole_that_others_follow_is_a_statement() {
        let text = "    // ANCHOR: a\n    x();\n    // ANCHOR_END: a\n\n    // then\n    y();\n}\n";
        assert!(emptied(text, "a", ID).unwrap().contains("    todo!(\"task 1.2\");\n"));
    }

    #[test]
    fn lints_of_the_workspace_become_allowances() {
        let manifest =
            "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n\n[features]\nlive = []\n";
        let changed = with_lints(manifest).unwrap();
        assert!(
            changed
                .starts_with("[package]\nname = \"a\"\n\n[features]\nlive = []\n\n[lints.rust]\n")
        );
        assert!(!changed.contains("workspace"));
        assert_eq!(with_lints("[package]\n"), None);
    }
}
