//! A progress bar on a terminal; a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Lines that are printed where there is no terminal, beside the first.
const LINES: u64 = 4;

/// Shows how much of a file is there.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    lines_printed: u64,
}

impl Progress {
    /// Says what begins.
    pub(crate) fn start(title: &str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_message(title.to_owned());
            let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            eprintln!("{title} ({} MB)", total / 1_000_000);
        }
        Self { bar, total, lines_printed: 0 }
    }

    /// Shows that so many bytes are there.
    pub(crate) fn set(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            return;
        }
        let line = bytes.min(self.total) * LINES / self.total.max(1);
        if line > self.lines_printed {
            self.lines_printed = line;
            eprintln!("  {} %", line * 100 / LINES);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
