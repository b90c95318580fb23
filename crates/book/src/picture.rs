//! Pictures are SVG files that follow the reader's theme.
//!
//! A source names them as any image, `![what it shows](img/x.svg)`, so that they also show where Markdown is
//! read without this program: each file carries the style sheet that makes it legible alone. In the book the
//! same file is put into the page itself, without that style sheet, and takes the colours of the page's theme.

use std::path::Path;

/// The text of `![text](target)` where that is all a line holds and the target is an SVG file here.
fn picture_line(line: &str) -> Option<(&str, &str)> {
    let (alt, target) = line.trim_end().strip_prefix("![")?.split_once("](")?;
    let target = target.strip_suffix(')')?;
    (target.ends_with(".svg") && !target.contains("://")).then_some((alt, target))
}

/// Replaces each line that is a picture by the SVG itself. `dir` is the folder of the chapter's source.
pub(crate) fn inline_pictures(source: &str, dir: &Path, warn: &mut Vec<String>) -> String {
    let mut out = String::with_capacity(source.len());
    for line in source.split_inclusive('\n') {
        let Some((alt, target)) = picture_line(line) else {
            out.push_str(line);
            continue;
        };
        match std::fs::read_to_string(dir.join(target)) {
            Ok(svg) => out.push_str(&figure(&svg, alt)),
            Err(cause) => {
                warn.push(format!("{target}: {cause}"));
                out.push_str(line);
            }
        }
    }
    out
}

/// The SVG as a figure that a screen reader names by `alt`. On one HTML block: a blank line would end it.
fn figure(svg: &str, alt: &str) -> String {
    let body = without_style(svg);
    let body = body.find("<svg").map_or(body.as_str(), |at| &body[at..]);
    let alt = alt.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let named = body.replacen("<svg", &format!("<svg role=\"img\" aria-label=\"{alt}\""), 1);
    let lines: Vec<&str> = named.lines().filter(|line| !line.trim().is_empty()).collect();
    format!("<figure class=\"picture\">\n{}\n</figure>\n", lines.join("\n"))
}

/// The file's own style sheet, where it has one.
#[must_use]
pub fn style_of(svg: &str) -> Option<&str> {
    let (_, rest) = svg.split_once("<style>")?;
    Some(rest.split_once("</style>")?.0.trim())
}

fn without_style(svg: &str) -> String {
    match (svg.find("<style>"), svg.find("</style>")) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{}", &svg[..from], &svg[to + "</style>".len()..])
        }
        _ => svg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_becomes_a_named_figure_without_its_own_style() {
        let dir = tempfile::tempdir().unwrap();
        let svg = "<?xml version=\"1.0\"?>\n<svg class=\"pic\">\n<style>\n.a{}\n</style>\n\n<rect/></svg>";
        std::fs::write(dir.path().join("x.svg"), svg).unwrap();
        let mut warn = Vec::new();
        let out = inline_pictures("a\n\n![Two \"x\"](x.svg)\n\nb\n", dir.path(), &mut warn);
        assert_eq!(
            out,
            "a\n\n<figure class=\"picture\">\n<svg role=\"img\" aria-label=\"Two &quot;x&quot;\" \
             class=\"pic\">\n<rect/></svg>\n</figure>\n\nb\n"
        );
        assert!(warn.is_empty());
    }

    #[test]
    fn a_missing_picture_is_a_warning() {
        let mut warn = Vec::new();
        inline_pictures("![alt](none.svg)\n", Path::new("/nowhere"), &mut warn);
        assert!(warn[0].starts_with("none.svg: "));
    }
}
