//! When each step of a workflow is on: a function of its templates.
//!
//! A step with a fault is on until its deadline, a `Suspend` is nothing until its deadline, `Serial` puts steps one after another
//! and `Parallel` side by side. So a workflow is a timetable, and what is to be done follows from how long ago it began.

use std::time::Duration;

use crate::api::{Template, WorkflowSpec};
use crate::go::{self, NotationError};

/// How deep steps may be put into each other.
pub const MAX_DEPTH: usize = 16;
/// How many steps a timetable may have.
pub const MAX_STEPS: usize = 256;

/// Why a workflow has no timetable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimelineError {
    /// A step that is not there.
    #[error("no template is called {0:?}")]
    Unknown(String),
    /// A step of a kind that is not executed here.
    #[error(
        "not supported here: {kind} (template {name:?}). It needs Chaos Mesh on a real cluster"
    )]
    Unsupported {
        /// The template.
        name: String,
        /// Its type.
        kind: String,
    },
    /// A step that says no fault, or two.
    #[error("template {name:?} is a {kind} but has no such fault in it")]
    Empty {
        /// The template.
        name: String,
        /// Its type.
        kind: String,
    },
    /// Steps inside themselves.
    #[error("template {0:?} is nested deeper than {MAX_DEPTH}: does it contain itself?")]
    Depth(String),
    /// Too many steps.
    #[error("a workflow may have {MAX_STEPS} steps")]
    Steps,
    /// A deadline that cannot be read.
    #[error("template {0:?}: {1}")]
    Deadline(String, NotationError),
}

/// A fault in a workflow, and when it is on.
#[derive(Debug, Clone, PartialEq)]
pub struct Step<'a> {
    /// Its number in the order of the templates, which names it.
    pub number: usize,
    /// What is done.
    pub template: &'a Template,
    /// Since when, from the workflow's start.
    pub from: Duration,
    /// Until when; nothing is until the workflow is deleted.
    pub until: Option<Duration>,
}

/// A workflow's faults, and when it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline<'a> {
    /// The faults.
    pub steps: Vec<Step<'a>>,
    /// When it ends; nothing is never.
    pub end: Option<Duration>,
}

/// The timetable of a workflow.
///
/// # Errors
/// [`TimelineError`].
pub fn timeline(spec: &WorkflowSpec) -> Result<Timeline<'_>, TimelineError> {
    let mut builder = Builder { spec, steps: Vec::new() };
    let end = builder.place(&spec.entry, Duration::ZERO, None, 0)?;
    Ok(Timeline { steps: builder.steps, end })
}

struct Builder<'a> {
    spec: &'a WorkflowSpec,
    steps: Vec<Step<'a>>,
}

impl<'a> Builder<'a> {
    /// Places a step at `from`, cut at `limit`; returns when it ends.
    fn place(
        &mut self,
        name: &str,
        from: Duration,
        limit: Option<Duration>,
        depth: usize,
    ) -> Result<Option<Duration>, TimelineError> {
        if depth > MAX_DEPTH {
            return Err(TimelineError::Depth(name.to_owned()));
        }
        let spec = self.spec;
        let template = spec.templates.iter().find(|template| template.name == name);
        let template = template.ok_or_else(|| TimelineError::Unknown(name.to_owned()))?;
        let deadline = template.deadline.as_deref().filter(|text| !text.is_empty());
        let deadline = deadline.map(go::duration).transpose();
        let deadline = deadline.map_err(|error| TimelineError::Deadline(name.to_owned(), error))?;
        let own = deadline.map(|deadline| from.saturating_add(deadline));
        let limit = earlier(own, limit);
        match template.template_type.as_str() {
            "Suspend" => Ok(limit),
            "Serial" => {
                let mut at = Some(from);
                for child in &template.children {
                    // What begins when its time is up already, or never begins, is left out.
                    let Some(start) = at.filter(|at| limit.is_none_or(|limit| *at < limit)) else {
                        break;
                    };
                    at = self.place(child, start, limit, depth + 1)?;
                }
                Ok(earlier(at, limit))
            }
            "Parallel" => {
                let mut end = Some(from);
                for child in &template.children {
                    let child = self.place(child, from, limit, depth + 1)?;
                    end = end.zip(child).map(|(a, b)| a.max(b));
                }
                Ok(earlier(end, limit))
            }
            kind if kind_of_fault(template).is_some_and(|found| found == kind) => {
                if self.steps.len() >= MAX_STEPS {
                    return Err(TimelineError::Steps);
                }
                let number = self.steps.len();
                self.steps.push(Step { number, template, from, until: limit });
                Ok(limit)
            }
            kind if FAULTS.contains(&kind) => {
                Err(TimelineError::Empty { name: name.to_owned(), kind: kind.to_owned() })
            }
            kind => {
                Err(TimelineError::Unsupported { name: name.to_owned(), kind: kind.to_owned() })
            }
        }
    }
}

const FAULTS: [&str; 6] =
    ["PodChaos", "NetworkChaos", "HTTPChaos", "StressChaos", "IOChaos", "TimeChaos"];

fn kind_of_fault(template: &Template) -> Option<&'static str> {
    template.chaos.kind()
}

/// The earlier of two ends, where nothing is never.
fn earlier(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(templates: serde_json::Value) -> WorkflowSpec {
        serde_json::from_value(serde_json::json!({ "entry": "entry", "templates": templates }))
            .expect("a workflow")
    }

    fn kill(name: &str, deadline: Option<&str>) -> serde_json::Value {
        serde_json::json!({
            "name": name, "templateType": "PodChaos", "deadline": deadline,
            "podChaos": { "action": "pod-failure", "mode": "one", "selector": {} },
        })
    }

    fn table(spec: &WorkflowSpec) -> Vec<(String, u64, Option<u64>)> {
        let steps = timeline(spec).expect("a timetable").steps;
        let row = |step: &Step<'_>| {
            let until = step.until.map(|until| until.as_secs());
            (step.template.name.clone(), step.from.as_secs(), until)
        };
        steps.iter().map(row).collect()
    }

    #[test]
    fn serial_steps_follow_each_other_and_a_suspend_is_a_gap() {
        let spec = workflow(serde_json::json!([
            { "name": "entry", "templateType": "Serial", "children": ["a", "wait", "b"] },
            kill("a", Some("10s")), kill("b", Some("20s")),
            { "name": "wait", "templateType": "Suspend", "deadline": "5s" },
        ]));
        assert_eq!(table(&spec), [("a".into(), 0, Some(10)), ("b".into(), 15, Some(35))]);
        assert_eq!(timeline(&spec).expect("a timetable").end, Some(Duration::from_secs(35)));
    }

    #[test]
    fn parallel_steps_begin_together_and_the_parent_cuts_them() {
        let spec = workflow(serde_json::json!([
            { "name": "entry", "templateType": "Parallel", "deadline": "15s", "children": ["a", "b"] },
            kill("a", Some("10s")), kill("b", None),
        ]));
        assert_eq!(table(&spec), [("a".into(), 0, Some(10)), ("b".into(), 0, Some(15))]);
    }

    #[test]
    fn nothing_follows_a_step_without_an_end() {
        let spec = workflow(serde_json::json!([
            { "name": "entry", "templateType": "Serial", "children": ["a", "b"] },
            kill("a", None), kill("b", Some("1s")),
        ]));
        assert_eq!(table(&spec), [("a".into(), 0, None)]);
        assert_eq!(timeline(&spec).expect("a timetable").end, None);
    }

    #[test]
    fn what_is_not_executed_here_is_named() {
        for kind in ["Task", "StatusCheck", "Schedule", "AWSChaos"] {
            let spec = workflow(serde_json::json!([{ "name": "entry", "templateType": kind }]));
            let error = timeline(&spec).expect_err("unsupported").to_string();
            assert!(error.contains(kind) && error.contains("\"entry\""), "{error}");
        }
        let spec = workflow(serde_json::json!([{ "name": "entry", "templateType": "PodChaos" }]));
        assert!(matches!(timeline(&spec), Err(TimelineError::Empty { .. })));
    }

    #[test]
    fn a_template_inside_itself_ends_in_an_error() {
        let spec = workflow(serde_json::json!([
            { "name": "entry", "templateType": "Parallel", "children": ["entry"] },
        ]));
        assert!(matches!(timeline(&spec), Err(TimelineError::Depth(_))));
        let spec = workflow(serde_json::json!([
            { "name": "entry", "templateType": "Serial", "children": ["nobody"] },
        ]));
        assert_eq!(timeline(&spec), Err(TimelineError::Unknown("nobody".into())));
    }
}
