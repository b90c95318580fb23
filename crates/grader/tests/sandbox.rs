//! The sandbox against programs that really misbehave. No libtest: this file is the grader, its supervisor and
//! the misbehaving check in one, so it needs a `main` of its own. One case: `-- NAME`.

#[cfg(unix)]
#[path = "sandbox/acts.rs"]
mod acts;
#[cfg(target_os = "linux")]
#[path = "sandbox/cases.rs"]
mod cases;

fn main() {
    grader::sandbox::maybe_run_supervisor();
    #[cfg(unix)]
    if let Ok(act) = std::env::var("ACT") {
        acts::play(&act);
        return;
    }
    #[cfg(target_os = "linux")]
    cases::run_all();
    #[cfg(not(target_os = "linux"))]
    println!("skipped: what these cases prove is true on Linux only");
}
