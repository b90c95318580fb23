//! Folded reference solutions: the whole functions of a source file that hold a task's regions.
//!
//! `{{#solution 1.3 ../../../solutions/01-triage/src/continuous.rs}}` on a line of its own.

use std::path::Path;

/// Replaces each solution line by a `<details>` with the code. `dir` is the folder of the chapter's source.
pub(crate) fn fold_solutions(source: &str, dir: &Path, warn: &mut Vec<String>) -> String {
    let mut out = String::with_capacity(source.len());
    for line in source.split_inclusive('\n') {
        let Some((task, path)) = solution_line(line) else {
            out.push_str(line);
            continue;
        };
        let text = std::fs::read_to_string(dir.join(path)).map_err(|cause| cause.to_string());
        let code = text.and_then(|text| {
            let functions = functions_of(&text, task);
            if functions.is_empty() {
                Err(format!("no region of task {task}"))
            } else {
                Ok(functions)
            }
        });
        match code {
            Ok(functions) => out.push_str(&folded(task, path, &functions.join("\n"))),
            Err(cause) => warn.push(format!("{path}: {cause}")),
        }
    }
    out
}

/// The task and the path of a solution line.
pub(crate) fn solution_line(line: &str) -> Option<(&str, &str)> {
    let inner = line.trim().strip_prefix("{{#solution ")?.strip_suffix("}}")?;
    inner.trim().split_once(' ').map(|(task, path)| (task, path.trim()))
}

fn folded(task: &str, path: &str, code: &str) -> String {
    let name = path.trim_start_matches("../");
    format!(
        "<details class=\"solution\">\n<summary>Reference solution of task {task}: {name}</summary>\n\n\
         ```rust,ignore\n{code}```\n\n</details>\n"
    )
}

/// Each function that holds a region of `task`, once, without the anchor lines and its indentation.
fn functions_of(text: &str, task: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let region = format!("ANCHOR: task_{}", task.replace('.', "_"));
    let mut found = Vec::new();
    let mut done = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some(rest) = line.trim().trim_start_matches('/').trim().strip_prefix(&region) else {
            continue;
        };
        let ends_there = rest.is_empty() || rest.starts_with('_');
        if !ends_there || at < done {
            continue;
        }
        let Some(start) = (0..at).rev().find(|&line| opens_function(lines[line])) else { continue };
        let indent = indent_of(lines[start]);
        let closing = |line: &&str| indent_of(line) == indent && line.trim() == "}";
        let end = (at..lines.len()).find(|&line| closing(&lines[line])).unwrap_or(at);
        done = end;
        let body = lines[start..=end].iter().filter(|line| !line.contains("// ANCHOR"));
        found.push(body.map(|line| format!("{}\n", line.get(indent..).unwrap_or(""))).collect());
    }
    found
}

fn opens_function(line: &str) -> bool {
    let line = line.trim_start();
    !line.starts_with("//")
        && (line.starts_with("fn ") || line.contains(" fn ") && line.starts_with("pub"))
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "impl X {\n    fn other(&self) {}\n\n    /// Doc.\n    pub fn plan(\n        \
        &self,\n    ) -> u8 {\n        // What to do.\n        // ANCHOR: task_1_3_admit\n        let a = 1;\n        \
        // ANCHOR_END: task_1_3_admit\n        // ANCHOR: task_1_3_rest\n        a\n        \
        // ANCHOR_END: task_1_3_rest\n    }\n}\n// ANCHOR: task_1_30\n";

    #[test]
    fn a_function_with_two_regions_is_shown_once_and_whole() {
        let found = functions_of(CODE, "1.3");
        let whole =
            "pub fn plan(\n    &self,\n) -> u8 {\n    // What to do.\n    let a = 1;\n    a\n}\n";
        assert_eq!(found, [whole]);
    }

    #[test]
    fn a_file_without_the_task_is_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.rs"), CODE).unwrap();
        let mut warn = Vec::new();
        let out = fold_solutions("{{#solution 1.3 x.rs}}\n", dir.path(), &mut warn);
        assert!(out.contains("<summary>Reference solution of task 1.3: x.rs</summary>"), "{out}");
        fold_solutions("{{#solution 1.4 x.rs}}\n", dir.path(), &mut warn);
        assert_eq!(warn, ["x.rs: no region of task 1.4"]);
    }
}
