//! The page that a learner finds in the folder of a lab.

use std::fmt::Write as _;

use crate::Lab;

/// Tasks, files and commands of a lab.
pub(crate) fn readme(lab: &Lab) -> String {
    let mut page = format!("# Lab {}: {}\n\n", lab.number, lab.title);
    page.push_str("Your code goes between the `ANCHOR` markers, in place of each `todo!(…)`.\n");
    page.push_str(
        "Keep the markers. Checks are in `src/tests/`: read them, they are yours to run.\n\n",
    );
    let _ = writeln!(page, "| task | points | files | needs |\n|---|---|---|---|");
    for task in &lab.tasks {
        let files: Vec<String> =
            task.files.iter().map(|file| format!("[`{0}`]({0})", file.display())).collect();
        let needs: Vec<String> = task.needs.iter().map(ToString::to_string).collect();
        let chapter = format!("../../book/src/{}", task.chapter.display());
        let (id, title, points) = (task.id, &task.title, task.points);
        let (files, needs) = (files.join(", "), needs.join(", "));
        let _ = writeln!(page, "| {id} [{title}]({chapter}) | {points} | {files} | {needs} |");
    }
    let (number, first) = (lab.number, lab.tasks[0].id);
    let _ = write!(
        page,
        "\n    cargo xtask lab {number}                 build, run and grade\n    \
             cargo xtask lab {number} --watch         again after every change\n    \
             cargo xtask lab {number} hint {first}        the next hint, of three\n    \
             cargo xtask lab {number} reset {first}       start a task again; your code is kept in .lab/backups\n    \
             cargo xtask lab {number} solution {first}    how the reference does it\n"
    );
    page
}
