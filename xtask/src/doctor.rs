//! `cargo xtask doctor`: what this machine lacks, each with the command that mends it. Looks only, changes nothing.

mod probes;

use std::path::Path;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    /// What: `rust`.
    pub(crate) name: &'static str,
    /// How it stands.
    pub(crate) state: State,
    /// What was found.
    pub(crate) found: String,
    /// What to do, where something is lacking.
    pub(crate) mend: Option<String>,
}

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Fine.
    Ok,
    /// The labs run without it, but something is slower or missing.
    Warn,
    /// The labs do not run.
    Lack,
}

/// Looks at everything; returns 1 if something is lacking that the labs cannot do without.
pub(crate) fn run(root: &Path, json: bool) -> Result<u8> {
    let findings = probes::all(root);
    let lacks = findings.iter().any(|finding| finding.state == State::Lack);
    if json {
        println!("{}", serde_json::json!({ "schema": 1, "ready": !lacks, "findings": findings }));
        return Ok(u8::from(lacks));
    }
    for finding in &findings {
        let (word, colour) = match finding.state {
            State::Ok => ("ok", AnsiColor::Green),
            State::Warn => ("warn", AnsiColor::Yellow),
            State::Lack => ("LACK", AnsiColor::Red),
        };
        let colour = Style::new().fg_color(Some(colour.into()));
        let Finding { name, found, .. } = finding;
        anstream::println!(" {colour}{word:4}{colour:#}  {name:8} {found}");
        if let Some(mend) = &finding.mend {
            anstream::println!("                mend: {mend}");
        }
    }
    anstream::println!(
        "{}",
        match lacks {
            true => "This machine lacks something the labs need.",
            false => "Ready. next: cargo xtask lab 1",
        }
    );
    Ok(u8::from(lacks))
}
