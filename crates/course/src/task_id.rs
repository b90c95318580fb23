//! `1.3`: the name of a task everywhere, in `lab.toml`, on the command line, in state and in reports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Lab number and place in the lab. Ordered as people count: 1.9 comes before 1.10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId {
    /// Number of the lab, from 1.
    pub lab: u32,
    /// Number of the task in it, from 1.
    pub task: u32,
}

/// Not the name of a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a task: expected a lab and a task number, as in \"1.3\"")]
pub struct TaskIdError(pub String);

impl TaskId {
    /// What the name of the task's regions is, or begins with: `task_1_3`.
    #[must_use]
    pub fn region_prefix(self) -> String {
        format!("task_{}_{}", self.lab, self.task)
    }

    /// What the function name of each check of the task begins with: `task_1_3_`.
    #[must_use]
    pub fn check_prefix(self) -> String {
        self.region_prefix() + "_"
    }

    /// The task that a region or a check function belongs to: 1.3 for `task_1_3` and for
    /// `task_1_3_fills_a_freed_place`; `None` for a name that is no task's.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("task_")?.splitn(3, '_');
        Some(Self { lab: number(parts.next()?)?, task: number(parts.next()?)? })
    }
}

/// A positive number written the one way: no sign, no leading zero.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, TaskIdError> {
        text.split_once('.')
            .and_then(|(lab, task)| Some(Self { lab: number(lab)?, task: number(task)? }))
            .ok_or_else(|| TaskIdError(text.to_owned()))
    }
}

impl TryFrom<String> for TaskId {
    type Error = TaskIdError;

    fn try_from(text: String) -> Result<Self, TaskIdError> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.lab, self.task))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ordered_by_number_not_by_text() {
        let [nine, ten] = ["1.9", "1.10"].map(|text| text.parse::<TaskId>().unwrap());
        assert!(nine < ten);
        assert_eq!(ten.to_string(), "1.10");
    }

    #[test]
    fn refuses_what_is_not_a_task() {
        for text in ["", "1", "1.", ".1", "1.0", "01.1", "1.+2", "1.2.3", "a.b", "1. 2"] {
            assert!(text.parse::<TaskId>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn belongs_to_a_name_by_number() {
        let id = |lab, task| Some(TaskId { lab, task });
        assert_eq!(TaskId::of_name("task_1_3"), id(1, 3));
        assert_eq!(TaskId::of_name("task_1_3_admit"), id(1, 3));
        assert_eq!(TaskId::of_name("task_1_10_admit"), id(1, 10));
        for name in ["task_1", "task_1_x", "tasks_1_3", "scheduler", "task__1"] {
            assert_eq!(TaskId::of_name(name), None, "{name}");
        }
    }
}
