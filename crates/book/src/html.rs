//! What one rendered page offers and asks for: its ids, links and pictures.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

/// A page, as a link checker sees it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Values of `id` and of `<a name>`.
    pub ids: Vec<String>,
    /// Values of `href` and `src`.
    pub links: Vec<String>,
    /// Pictures without a text for who cannot see them, by their source.
    pub unnamed_pictures: Vec<String>,
}

/// Reads a page.
#[must_use]
pub fn scan(html: &str) -> Page {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    let tokenizer = Tokenizer::new(Collector::default(), TokenizerOpts::default());
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink.0.into_inner()
}

#[derive(Default)]
struct Collector(RefCell<Page>);

impl TokenSink for Collector {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let Token::TagToken(tag) = token else { return TokenSinkResult::Continue };
        if tag.kind == TagKind::EndTag {
            return TokenSinkResult::Continue;
        }
        collect(&tag, &mut self.0.borrow_mut());
        match &*tag.name {
            "script" => TokenSinkResult::RawData(RawKind::ScriptData),
            "style" => TokenSinkResult::RawData(RawKind::Rawtext),
            _ => TokenSinkResult::Continue,
        }
    }
}

fn collect(tag: &Tag, page: &mut Page) {
    let get = |name: &str| {
        tag.attrs.iter().find(|attr| &*attr.name.local == name).map(|attr| attr.value.to_string())
    };
    page.ids.extend(get("id"));
    if &*tag.name == "a" {
        page.ids.extend(get("name"));
    }
    page.links.extend(get("href").into_iter().chain(get("src")));
    let is_named = |name| get(name).is_some_and(|text| !text.trim().is_empty());
    let is_hidden = get("aria-hidden").as_deref() == Some("true");
    // mdBook's own icons are hidden from screen readers by their wrapper; a course picture has a role.
    let is_unnamed = match &*tag.name {
        "img" => get("alt").is_none_or(|alt| alt.trim().is_empty()),
        "svg" => get("role").as_deref() == Some("img") && !is_named("aria-label"),
        _ => false,
    };
    if is_unnamed && !is_hidden {
        page.unnamed_pictures.push(get("src").unwrap_or_else(|| "an inline picture".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ids_links_and_unnamed_pictures() {
        let page = scan(
            "<h2 id=a>x</h2><a href='b.html#c'>y</a><img src=d.png><img src=e.png alt='An e'>\
             <svg role=img aria-label=''></svg><script>'<a href=no>'</script>",
        );
        assert_eq!(page.ids, ["a"]);
        assert_eq!(page.links, ["b.html#c", "d.png", "e.png"]);
        assert_eq!(page.unnamed_pictures, ["d.png", "an inline picture"]);
    }
}
