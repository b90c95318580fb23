//! From `book.toml` to a folder of HTML.

use std::path::{Path, PathBuf};

use mdbook_driver::MDBook;

use crate::BookError;
use crate::preprocess::Course;
use crate::warnings::Warnings;

/// Files that mdBook writes into every book: only a folder with one of them may be emptied. More than one,
/// because a build that was interrupted leaves some.
const MARKS: [&str; 3] = [".nojekyll", "toc.html", "print.html"];

/// A book that was built.
#[derive(Debug)]
pub struct Built {
    /// Where the HTML is.
    pub out: PathBuf,
    /// What mdBook and the course's own directives complained about; empty for a sound book.
    pub warnings: Vec<String>,
}

/// Builds the book whose `book.toml` is in `root` into `out`, whose contents are replaced.
///
/// # Errors
/// [`BookError::Render`] where mdBook gives up; [`BookError::Io`] where `out` cannot be used;
/// [`BookError::NotABook`] where `out` holds something else than a built book.
pub fn build(root: &Path, out: &Path) -> Result<Built, BookError> {
    let root = root.canonicalize().map_err(BookError::io(root))?;
    std::fs::create_dir_all(out).map_err(BookError::io(out))?;
    let out = out.canonicalize().map_err(BookError::io(out))?;
    let mut entries = std::fs::read_dir(&out).map_err(BookError::io(&out))?;
    if entries.next().is_some() && !MARKS.iter().any(|mark| out.join(mark).exists()) {
        return Err(BookError::NotABook { out });
    }
    let (result, warnings) = Warnings::of(|| {
        let mut book = MDBook::load(&root)?;
        book.config.build.build_dir.clone_from(&out);
        book.with_preprocessor(Course);
        book.build()
    });
    result.map_err(|cause| BookError::Render { root, cause: format!("{cause:#}") })?;
    Ok(Built { out, warnings })
}
