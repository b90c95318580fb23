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
    let source = replace_fences(&source, |fence| {
        if fence.language() != "quiz" {
            return None;
        }
        quiz(fence.body).map_err(|cause| warnings.push(format!("quiz: {cause}"))).ok()
    });
    (source, warnings)
}
