//! The one line that moves while something takes long.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// On a terminal a spinner on standard error; elsewhere nothing.
#[derive(Debug)]
pub struct Progress(ProgressBar, bool);

impl Progress {
    /// Starts it; `quiet` hides it even on a terminal.
    #[must_use]
    pub fn start(quiet: bool, what: &str) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        if let Ok(style) = ProgressStyle::with_template(" {spinner} {msg}  {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar, quiet)
    }

    /// What is being done now.
    pub fn set(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }
}

impl Progress {
    /// A line that stays, unless all is quiet.
    pub fn say(&self, line: &str) {
        if !self.1 {
            self.0.suspend(|| anstream::eprintln!("{line}"));
        }
    }

    /// Runs something that writes to the terminal itself.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.suspend(work)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
