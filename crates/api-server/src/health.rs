//! Whether the server is well.

use crate::answer::{self, Response};
use crate::query::Query;

/// What is checked. All of it holds while the process answers: there is no second process to lose.
const CHECKS: [&str; 3] = ["ping", "log", "etcd"];

/// The answer of `/healthz`, `/livez`, `/readyz` and what is below them.
pub(crate) fn check(kind: &str, below: &[&str], query: &Query, stopping: bool) -> Response {
    let stopping = stopping && kind == "readyz";
    match below {
        [] if stopping => {
            answer::text(500, format!("[-]shutdown failed: reason withheld\n{kind} check failed\n"))
        }
        [] if query.has("verbose") => {
            let excluded = query.all("exclude");
            let mut text = String::new();
            for check in CHECKS {
                let what = if excluded.contains(&check) { "excluded: ok" } else { "ok" };
                text.push_str(&format!("[+]{check} {what}\n"));
            }
            answer::text(200, format!("{text}{kind} check passed\n"))
        }
        [] => answer::text(200, "ok"),
        [one] if CHECKS.contains(one) => answer::text(200, "ok"),
        _ => answer::path_not_found(),
    }
}
