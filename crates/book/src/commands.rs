//! The commands that the book tells a reader to type, for the test that types them all.

use std::path::Path;

use serde::Serialize;

use crate::fences::{fences, replace_fences};
use crate::{BookError, files_below};

/// A line that starts with `$ ` in a `console` block, or a `cargo xtask` command in backticks in the text.
///
/// The block's info string says what to expect of it: `console,exit=1` for an exit status, `console,stop`
/// for a command that runs until it is stopped. A command in the text promises neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BookCommand {
    /// The whole line after the prompt.
    pub command: String,
    /// The words after `cargo xtask`; absent for any other command.
    pub xtask: Option<Vec<String>>,
    /// Exit status that the book promises; absent for a command in the text.
    pub exit: Option<i32>,
    /// Whether it ends by itself.
    pub ends: bool,
    /// Source file, from the book's `src`.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
}

/// Every command of the book whose `book.toml` is in `root`, in the order of files and lines.
///
/// # Errors
/// [`BookError::Io`] where a source cannot be read.
pub fn commands(root: &Path) -> Result<Vec<BookCommand>, BookError> {
    let src = root.join("src");
    let mut found = Vec::new();
    for path in files_below(&src, "md")? {
        let source = std::fs::read_to_string(&path).map_err(BookError::io(&path))?;
        let file = path.strip_prefix(&src).unwrap_or(&path).to_string_lossy().into_owned();
        found.extend(commands_in(&source, &file));
    }
    Ok(found)
}

fn commands_in(source: &str, file: &str) -> Vec<BookCommand> {
    let mut found = in_console_blocks(source, file);
    found.extend(in_the_text(source, file));
    found.sort_by_key(|command| command.line);
    found
}

fn in_console_blocks(source: &str, file: &str) -> Vec<BookCommand> {
    let mut found = Vec::new();
    for fence in fences(source).iter().filter(|fence| fence.language() == "console") {
        let exit = fence.attributes().find_map(|part| part.strip_prefix("exit=")?.parse().ok());
        let ends = !fence.attributes().any(|part| part == "stop");
        let mut lines = fence.body.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let Some(command) = line.strip_prefix("$ ") else { continue };
            // A remark after two spaces and `#` is for the reader.
            let mut command = command.split("  #").next().unwrap_or(command).trim().to_owned();
            while let Some(unfinished) = command.strip_suffix('\\') {
                let rest = lines.next().map_or("", |(_, line)| line.trim());
                command = format!("{} {rest}", unfinished.trim_end());
            }
            let exit = ends.then(|| exit.unwrap_or(0));
            found.push(BookCommand::new(&command, exit, ends, file, fence.line + index));
        }
    }
    found
}

fn in_the_text(source: &str, file: &str) -> Vec<BookCommand> {
    // Blank out the blocks, and keep their line ends so that lines keep their numbers.
    let text = replace_fences(source, |fence| {
        Some(source[fence.span.clone()].chars().filter(|&char| char == '\n').collect())
    });
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let spans = line.split('`').skip(1).step_by(2);
        for command in spans.filter(|span| span.starts_with("cargo xtask")) {
            found.push(BookCommand::new(command, None, true, file, index + 1));
        }
    }
    found
}

impl BookCommand {
    fn new(command: &str, exit: Option<i32>, ends: bool, file: &str, line: usize) -> Self {
        let words = command.strip_prefix("cargo xtask");
        let xtask = words.map(|rest| rest.split_whitespace().map(str::to_owned).collect());
        Self { command: command.to_owned(), xtask, exit, ends, file: file.to_owned(), line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_in_a_console_block_is_a_command() {
        let source = "$ not this\n`cargo xtask lab 1 hint 1.1`\n```console,exit=1\n$ cargo xtask lab 1  # all red\nFAIL 1.1\n```\n\
                      ```console,stop\n$ curl -s \\\n    x\n```\n";
        let found = commands_in(source, "a.md");
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].command.as_str(), found[0].line), ("cargo xtask lab 1 hint 1.1", 2));
        assert_eq!((found[0].exit, found[0].ends), (None, true));
        assert_eq!(found[1].command, "cargo xtask lab 1");
        assert_eq!(found[1].xtask, Some(vec!["lab".into(), "1".into()]));
        assert_eq!((found[1].exit, found[1].ends, found[1].line), (Some(1), true, 4));
        assert_eq!(found[2].command, "curl -s x");
        assert_eq!((found[2].xtask.as_ref(), found[2].exit, found[2].ends), (None, None, false));
    }
}
