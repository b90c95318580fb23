//! The small process above each pod: starts its programs, writes their logs, and kills all of them when the agent goes.
//!
//! It is this very program, started again with a hidden argument and one end of a socket as standard input:
//!
//! 1. the **agent** holds the other end. When that closes, for whatever reason, SIGKILL included, the supervisor kills
//!    everything below itself and ends.
//! 2. the **supervisor** is in a process group of its own and a child subreaper: what a program detaches from itself
//!    becomes the supervisor's child, and is found and killed.
//! 3. the **stage** (`stage`) is this program once more; it prepares what a program sees, then becomes it. The kernel kills it
//!    with the supervisor.

pub(crate) mod channel;
pub(crate) mod logfile;
pub(crate) mod order;
pub(crate) mod processes;
mod programs;
mod stage;
pub(crate) mod view;

/// First argument that makes this program the supervisor of a pod.
pub(crate) const SUPERVISOR: &str = "pod-supervisor";
/// First argument that makes this program prepare itself and become another.
const STAGE: &str = "pod-stage";
/// First argument that makes this program use up CPU or memory: what StressChaos starts inside a pod.
pub(crate) const BURNER: &str = "pod-burner";

/// To be called first thing in `main`. Comes back in a normal start; does not in one that the agent made.
pub fn maybe_run_supervisor() {
    let mut arguments = std::env::args().skip(1);
    let code = match arguments.next().as_deref() {
        Some(SUPERVISOR) => programs::supervise(),
        Some(STAGE) => stage::run(arguments.next().as_deref()),
        Some(BURNER) => crate::stress::burn(&arguments.collect::<Vec<_>>()),
        _ => return,
    };
    std::process::exit(code);
}
