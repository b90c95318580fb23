//! What the proofs of a lab came to, as a table.

use std::fmt;

use course::{Lab, TaskId};

use crate::Finding;

/// The proofs of one lab.
#[derive(Debug)]
pub struct LabSummary {
    /// Number of the lab.
    pub number: u32,
    /// Its title.
    pub title: String,
    /// Its tasks, in order.
    pub tasks: Vec<TaskSummary>,
    /// Checks that need an engine: these proofs do not run them.
    pub live_checks: usize,
    /// Seeds that the solution was run with.
    pub seeds: u64,
    /// Runs with one seed.
    pub repeats: usize,
    /// All that is wrong.
    pub findings: Vec<Finding>,
}

/// The proofs of one task.
#[derive(Debug)]
pub struct TaskSummary {
    /// Which task.
    pub id: TaskId,
    /// Its checks, live ones included.
    pub checks: usize,
    /// Whether it fails on the starter.
    pub red_on_starter: bool,
    /// The tasks that fail when only it is emptied.
    pub red_when_emptied: Vec<String>,
    /// Mutants that apply.
    pub mutants: usize,
    /// Mutants that one of its checks rejects.
    pub killed: usize,
}

impl LabSummary {
    pub(crate) fn new(lab: &Lab) -> Self {
        let task = |task: &course::Task| TaskSummary {
            id: task.id,
            checks: 0,
            red_on_starter: false,
            red_when_emptied: Vec::new(),
            mutants: 0,
            killed: 0,
        };
        Self {
            number: lab.number,
            title: lab.title.clone(),
            tasks: lab.tasks.iter().map(task).collect(),
            live_checks: 0,
            seeds: 0,
            repeats: 0,
            findings: Vec::new(),
        }
    }

    /// 0 where all is proved, 1 where something is wrong with the lab, 2 where only the infrastructure failed.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match &self.findings[..] {
            [] => 0,
            findings if findings.iter().any(Finding::is_about_the_lab) => 1,
            _ => 2,
        }
    }
}

/// The status of all labs together: 1 wins over 2, and 2 over 0.
#[must_use]
pub fn exit_status(summaries: &[LabSummary]) -> u8 {
    let any = |status| summaries.iter().any(|summary| summary.exit_status() == status);
    if any(1) { 1 } else { u8::from(any(2)) * 2 }
}

impl fmt::Display for LabSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nLab {}  {}\n", self.number, self.title)?;
        writeln!(f, " task  checks  starter  mutants rejected  red when only it is emptied")?;
        for task in &self.tasks {
            let starter = if task.red_on_starter { "red" } else { "-" };
            let killed = format!("{}/{}", task.killed, task.mutants);
            let emptied = task.red_when_emptied.join(", ");
            let (id, checks) = (task.id, task.checks);
            writeln!(f, " {id:<5} {checks:>6}  {starter:<7}  {killed:<16}  {emptied}")?;
        }
        let (seeds, repeats, live) = (self.seeds, self.repeats, self.live_checks);
        write!(f, "\n {seeds} seeds, {repeats} repeats; {live} live checks not run here\n ")?;
        match self.findings.len() {
            0 => writeln!(f, "Every proof holds."),
            1 => writeln!(f, "1 thing is wrong: see above."),
            count => writeln!(f, "{count} things are wrong: see above."),
        }
    }
}
