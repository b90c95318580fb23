//! What a process asks for itself.

use std::io;
use std::path::PathBuf;

/// Asks Linux to kill this process when its parent dies, and makes sure that the parent, `parent`, has not died yet. What it asked
/// for stays with it when it becomes another program. Elsewhere nothing binds the two.
///
/// # Errors
/// Where the system refuses, or somebody else has become the parent.
pub fn die_with(parent: u32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        if std::os::unix::process::parent_id() != parent {
            return Err(io::Error::other("its parent is gone"));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _dies_by_itself = parent;
    Ok(())
}

/// The program that this process runs, to be started again. On Linux by a name that still works when a build has replaced the file
/// meanwhile.
///
/// # Errors
/// Where the system does not say.
pub fn this_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_the_parent_is_taken_for_dead() {
        let error = die_with(u32::MAX).unwrap_err().to_string();
        assert_eq!(error, "its parent is gone");
        // As it was: whoever runs tests may end before them.
        nix::sys::prctl::set_pdeathsig(None).unwrap();
    }
}
