//! `cargo xtask lab N hint|reset|solution`.

use anyhow::Result;
use course::{Lab, TaskId};
use grader::{State, Verdict, saved_verdict};

use crate::cli::LabAction;

/// Carries out one of them.
pub(crate) fn run(lab: &Lab, action: LabAction) -> Result<u8> {
    match action {
        LabAction::Hint { task } => hint(lab, task),
        LabAction::Reset { task } => reset(lab, task),
        LabAction::Solution { task } => solution(lab, task),
    }
}

fn hint(lab: &Lab, task: Option<TaskId>) -> Result<u8> {
    let (mut state, moved_aside) = State::load(&lab.root)?;
    if let Some(line) = moved_aside {
        anstream::eprintln!("note: {line}");
    }
    let open = |task: &&course::Task| saved_verdict(&state, task.id) != Some(Verdict::Pass);
    let Some(id) = task.or_else(|| lab.tasks.iter().find(open).map(|task| task.id)) else {
        anstream::println!("All tasks of lab {} are solved.", lab.number);
        return Ok(0);
    };
    let before = state.task(id).hints_shown;
    let hints = grader::hint(lab, id, &mut state)?;
    state.save(&lab.root)?;
    let Some(last) = hints.last() else { return Ok(0) };
    for hint in &hints {
        anstream::println!("{id}, hint {} of {}: {}", hint.number, hint.of, hint.text.trim());
    }
    let number = lab.number;
    if before == last.of {
        anstream::println!("That is all of them. next: cargo xtask lab {number} solution {id}");
    } else {
        anstream::println!("next: cargo xtask lab {number}");
    }
    Ok(0)
}

fn reset(lab: &Lab, task: Option<TaskId>) -> Result<u8> {
    let done = grader::reset(lab, task)?;
    if done.is_empty() {
        anstream::println!("Nothing to do: it is as the starter has it.");
    }
    for reset in &done {
        let kept = match &reset.backup {
            Some(backup) => format!("; yours is kept as {}", backup.display()),
            None => " (it was missing)".to_owned(),
        };
        anstream::println!("restored {}{kept}", reset.file.display());
    }
    Ok(0)
}

fn solution(lab: &Lab, task: TaskId) -> Result<u8> {
    for part in grader::solution(lab, task)? {
        anstream::println!("// {}", part.place);
        anstream::println!("{}", part.text.trim_end());
        if part.diff.is_empty() {
            anstream::println!("\nYours is the same.\n");
        } else {
            anstream::println!("\nFrom yours to it:\n{}", part.diff.trim_end());
        }
    }
    Ok(0)
}
