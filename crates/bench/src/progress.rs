//! What is happening right now, on the terminal; not a line where nobody looks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that says what is being waited for. It goes when the value does.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// On standard error, where that is a terminal.
    #[must_use]
    pub fn on_stderr() -> Self {
        let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
        let bar = ProgressBar::new_spinner();
        let bar = match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        // Seldom: what is measured shares the processors with it.
        bar.enable_steady_tick(Duration::from_secs(1));
        Self(bar)
    }

    /// Says nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self(ProgressBar::hidden())
    }

    /// What begins now.
    pub fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// A line that stays, above the one that changes.
    pub fn note(&self, line: &str) {
        self.0.suspend(|| anstream::eprintln!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
