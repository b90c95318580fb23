//! Proves that nothing in the book points nowhere.

use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::html::{Page, scan};
use crate::includes::broken_includes;
use crate::picture::style_of;
use crate::{BookError, build, files_below};

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// File, from the book's `src` or from the built book.
    pub file: String,
    /// What.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

/// Builds the book in a temporary folder and returns everything that is wrong with it, sorted.
///
/// # Errors
/// [`BookError`] where it cannot even be built.
pub fn check(root: &Path) -> Result<Vec<Finding>, BookError> {
    let temp = std::env::temp_dir();
    let out = tempfile::tempdir_in(&temp).map_err(BookError::io(&temp))?;
    let mut findings = check_sources(root)?;
    let built = build(root, out.path())?;
    let warn = |what| Finding { file: "mdbook".to_owned(), what };
    findings.extend(built.warnings.into_iter().map(warn));
    findings.extend(check_pages(&built.out)?);
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// Includes that do not resolve, and pictures whose style sheet is not the course's.
fn check_sources(root: &Path) -> Result<Vec<Finding>, BookError> {
    let src = root.join("src");
    let mut findings = Vec::new();
    for path in files_below(&src, "md")? {
        let source = read(&path)?;
        let dir = path.parent().unwrap_or(&src);
        for (line, what) in broken_includes(&source, dir) {
            findings.push(Finding { file: format!("{}:{line}", relative(&path, &src)), what });
        }
    }
    let style = root.join("theme/picture.css");
    let style = if style.is_file() { Some(read(&style)?) } else { None };
    for path in files_below(&src, "svg")? {
        let svg = read(&path)?;
        let wanted = style.as_deref().map(str::trim);
        if wanted.is_some() && style_of(&svg) != wanted {
            let what = "its <style> is not theme/picture.css".to_owned();
            findings.push(Finding { file: relative(&path, &src), what });
        }
    }
    Ok(findings)
}

/// Links, anchors and pictures of the built pages.
fn check_pages(out: &Path) -> Result<Vec<Finding>, BookError> {
    let mut pages = HashMap::new();
    for path in files_below(out, "html")? {
        pages.insert(path.clone(), scan(&read(&path)?));
    }
    let mut findings = Vec::new();
    for (path, page) in &pages {
        let file = relative(path, out);
        // One page that repeats all others, with its links rewritten by mdBook.
        if file == "print.html" {
            continue;
        }
        let broken = page.links.iter().filter_map(|link| broken_link(link, path, &pages));
        let unnamed = page.unnamed_pictures.iter().map(|src| format!("no alt text: {src}"));
        let both = broken.chain(unnamed);
        findings.extend(both.map(|what| Finding { file: file.clone(), what }));
    }
    Ok(findings)
}

/// Why a link leads nowhere, where it does.
fn broken_link(link: &str, from: &Path, pages: &HashMap<PathBuf, Page>) -> Option<String> {
    let is_outside = ["https://", "http://127.0.0.1", "http://localhost", "mailto:", "data:"];
    if is_outside.iter().any(|start| link.starts_with(start)) || link == "/" {
        return None;
    }
    if link.starts_with("http:") {
        return Some(format!("not https: {link}"));
    }
    let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
    let path = path.split('?').next().unwrap_or(path);
    let target = if path.is_empty() { from.to_owned() } else { join(from.parent()?, path) };
    if !target.is_file() {
        return Some(format!("broken link: {link}"));
    }
    let ids = pages.get(&target).map(|page| &page.ids);
    let is_there = fragment.is_empty() || ids.is_none_or(|ids| ids.iter().any(|id| id == fragment));
    (!is_there).then(|| format!("no such anchor: {link}"))
}

/// `dir` and a relative link, with `..` resolved on paper.
fn join(dir: &Path, link: &str) -> PathBuf {
    let mut path = dir.to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

fn read(path: &Path) -> Result<String, BookError> {
    std::fs::read_to_string(path).map_err(BookError::io(path))
}

fn relative(path: &Path, base: &Path) -> String {
    path.strip_prefix(base).unwrap_or(path).to_string_lossy().into_owned()
}
