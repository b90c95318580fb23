//! The course's own directives, as a preprocessor that runs after mdBook's.

use std::path::Path;

use mdbook_driver::book::{Book, BookItem};
use mdbook_driver::errors::Result;
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};

use crate::fences::replace_fences;
use crate::picture::inline_pictures;
use crate::quiz::quiz;
use crate::solution::fold_solutions;

/// Quizzes, pictures and folded solutions.
pub struct Course;

impl Preprocessor for Course {
    fn name(&self) -> &'static str {
        "course"
    }

    fn run(&self, ctx: &PreprocessorContext, mut book: Book) -> Result<Book> {
        let src = ctx.root.join(&ctx.config.book.src);
        book.for_each_mut(|item| {
            let BookItem::Chapter(chapter) = item else { return };
            let Some(path) = &chapter.source_path else { return };
            let dir = src.join(path).parent().unwrap_or(&src).to_owned();
            let (content, warnings) = expand(&chapter.content, &dir);
            chapter.content = content;
            for warning in warnings {
                tracing::warn!("{}: {warning}", path.display());
            }
        });
        Ok(book)
    }
}

/// One chapter's Markdown with all directives expanded, and what was wrong with them.
fn expand(source: &str, dir: &Path) -> (String, Vec<String>) {
    let mut warnings = Vec::new();
    let source = fold_solutions(source, dir, &mut warnings);
    let source = inline_pictures(&source, dir, &mut warnings);
    let source = replace_fences(&source, |fence| match fence.language() {
        "quiz" => quiz(fence.body).map_err(|cause| warnings.push(format!("quiz: {cause}"))).ok(),
        "rust" => Some(format!("```{}\n{}```", fence.info, dedent(fence.body))),
        _ => None,
    });
    (source, warnings)
}

/// Code without the indentation that all its lines share: a method is included from inside its `impl`.
fn dedent(code: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines = || code.lines().filter(|line| !line.trim().is_empty());
    let shared = lines().map(indent).min().unwrap_or(0);
    code.lines().map(|line| format!("{}\n", line.get(shared..).unwrap_or(""))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_included_method_loses_its_indentation() {
        let (out, warnings) =
            expand("```rust,ignore\n    fn f() {\n\n        1\n    }\n```\n", Path::new("."));
        assert_eq!(out, "```rust,ignore\nfn f() {\n\n    1\n}\n```\n");
        assert!(warnings.is_empty());
    }
}
