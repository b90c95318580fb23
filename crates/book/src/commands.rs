//! The commands that the book tells a reader to type, for the test that types them all.

use std::path::Path;

use serde::Serialize;

use crate::fences::fences;
use crate::{BookError, files_below};

/// One line that starts with `$ ` in a `console` block.
///
/// The block's info string says what to expect of it: `console,exit=1` for an exit status, `console,stop`
/// for a command that runs until it is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BookCommand {
    /// The whole line after the prompt.
    pub command: String,
    /// The words after `cargo xtask`; absent for any other command.
    pub xtask: Option<Vec<String>>,
    /// Exit status that the book promises.
    pub exit: i32,
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
    let mut found = Vec::new();
    for fence in fences(source).iter().filter(|fence| fence.language() == "console") {
        let exit = fence.attributes().find_map(|part| part.strip_prefix("exit=")?.parse().ok());
        let ends = !fence.attributes().any(|part| part == "stop");
        for (index, line) in fence.body.lines().enumerate() {
            let Some(command) = line.strip_prefix("$ ") else { continue };
            // A remark after two spaces and `#` is for the reader.
            let command = command.split("  #").next().unwrap_or(command).trim();
            let words = command.strip_prefix("cargo xtask");
            let xtask = words.map(|rest| rest.split_whitespace().map(str::to_owned).collect());
            found.push(BookCommand {
                command: command.to_owned(),
                xtask,
                exit: exit.unwrap_or(0),
                ends,
                file: file.to_owned(),
                line: fence.line + index,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_in_a_console_block_is_a_command() {
        let source = "$ not this\n\n```console,exit=1\n$ cargo xtask lab 1  # all red\nFAIL 1.1\n```\n\
                      ```console,stop\n$ curl -s x\n```\n";
        let found = commands_in(source, "a.md");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].command, "cargo xtask lab 1");
        assert_eq!(found[0].xtask, Some(vec!["lab".into(), "1".into()]));
        assert_eq!((found[0].exit, found[0].ends, found[0].line), (1, true, 4));
        assert_eq!((found[1].xtask.as_ref(), found[1].ends), (None, false));
    }
}
