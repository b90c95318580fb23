//! `cargo xtask` alone: the course map. Labs, tasks, where you are, what is next.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use course::Course;
use grader::{State, Verdict, saved_verdict};

/// Prints the map.
pub(crate) fn show(root: &Path) -> Result<u8> {
    let course = Course::discover(root)?;
    let (state, moved_aside) = State::load(root)?;
    anstream::print!("{}", render(&course, &state));
    if let Some(line) = moved_aside {
        anstream::eprintln!("note: {line}");
    }
    Ok(0)
}

fn render(course: &Course, state: &State) -> String {
    let mut text = String::from("LLM Systems Engineering Lab\n\n");
    let mut next = None;
    for lab in &course.labs {
        let points: u32 = lab.tasks.iter().map(|task| state.task(task.id).points).sum();
        let _ = writeln!(text, "Lab {}  {:44} {points:>3}/{}", lab.number, lab.title, lab.points());
        for task in &lab.tasks {
            let verdict = saved_verdict(state, task.id);
            let word = match verdict {
                Some(Verdict::Pass) => "done",
                Some(_) => "begun",
                None => "",
            };
            let known = state.task(task.id);
            let hints = match known.hints_shown {
                0 => String::new(),
                shown => format!("   hints {shown} of {}", task.hints.len()),
            };
            let points = format!("{:>3}/{}", known.points, task.points);
            let _ = writeln!(text, "  {:5}  {} {:40} {points}{hints}", word, task.id, task.title);
            if verdict != Some(Verdict::Pass) && next.is_none() {
                next = Some((lab, task));
            }
        }
    }
    let _ = match next {
        Some((lab, task)) => writeln!(
            text,
            "\nnext: {} {}\n  read   cargo xtask book --open    (book/src/{})\n  write  {}\n  check  cargo xtask lab {}",
            task.id,
            task.title,
            task.chapter.display(),
            task.files
                .iter()
                .map(|file| lab.folder(course::Side::Learner).join(file).display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
            lab.number
        ),
        None => writeln!(text, "\nEverything is solved."),
    };
    text
}
