//! What a program around a learner's code says where it comes to a task that is not solved yet: which, and what to do.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

use anyhow::{Result, anyhow};

/// How the code of a task begins that nobody has written: `todo!("task 1.3")`.
const UNSOLVED: &str = "not yet implemented: task ";

/// Does something that runs a learner's code. Where that ends at an unsolved task, the error says
/// so, and names `reference`, a command that runs the solution; every other panic goes on, with all that it has to say.
///
/// # Errors
/// Those of `run`, and one where it came to an unsolved task.
pub fn catch<T>(reference: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if unsolved(panic.payload()).is_none() {
            tell(panic);
        }
    }));
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        match unsolved(payload.as_ref()) {
            Some(task) => Err(advice(task, reference)),
            None => panic::resume_unwind(payload),
        }
    })
}

/// The task whose place in the code a panic comes from.
fn unsolved(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text?.strip_prefix(UNSOLVED)
}

fn advice(task: &str, reference: &str) -> anyhow::Error {
    let lab = task.split('.').next().unwrap_or(task);
    anyhow!(
        "this run comes to task {task}, which is not solved yet\n\
         solve it first:         cargo xtask lab {lab} --task {task}\n\
         or run the reference:   {reference}"
    )
}

#[cfg(test)]
#[expect(clippy::todo, reason = "what an unsolved task does")]
mod tests {
    use super::*;

    #[test]
    fn an_unsolved_task_is_named_with_what_to_do() {
        let error = catch::<()>("ref", || todo!("task 1.6")).unwrap_err().to_string();
        assert!(error.starts_with("this run comes to task 1.6, which"), "{error}");
        assert!(error.contains("cargo xtask lab 1 --task 1.6"), "{error}");
        assert!(error.ends_with(" ref"), "{error}");
        let number = 4;
        let error = catch::<()>("ref", || todo!("task 1.{number}")).unwrap_err().to_string();
        assert!(error.contains("task 1.4"), "{error}");
    }

    #[test]
    fn what_else_goes_wrong_stays_as_it_is() {
        assert_eq!(catch("ref", || Ok(3)).unwrap(), 3);
        assert_eq!(catch::<()>("ref", || Err(anyhow!("no"))).unwrap_err().to_string(), "no");
        let panic = panic::catch_unwind(|| catch::<()>("ref", || panic!("index 3 of 2")));
        assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"index 3 of 2"));
    }
}
