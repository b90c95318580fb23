//! The functions of a source file: where the body of each is, and what is around them. Pure.

use std::ops::Range;

use proc_macro2::TokenStream;
use syn::visit::{self, Visit};

/// A source file, taken apart.
#[derive(Debug)]
pub(crate) struct Outline {
    /// In the order of the text. A function within a body is part of that body.
    pub(crate) bodies: Vec<Body>,
    /// The tokens of everything else.
    pub(crate) around: String,
}

/// A function's body.
#[derive(Debug)]
pub(crate) struct Body {
    /// Its bytes, braces included.
    pub(crate) range: Range<usize>,
    /// Why no other one can be chosen at run time, where that is so.
    pub(crate) fixed: Option<&'static str>,
}

/// Takes a source file apart.
///
/// # Errors
/// What keeps it from being read as Rust.
pub(crate) fn outline(text: &str) -> Result<Outline, String> {
    let file = syn::parse_file(text).map_err(|error| error.to_string())?;
    let mut found = Found(Vec::new());
    visit::visit_file(&mut found, &file);
    let (mut around, mut end) = (String::new(), 0);
    for body in &found.0 {
        // Spans count from a shebang line on; such a file is no module.
        let inside = text.get(body.range.clone());
        if inside.is_none_or(|inside| !inside.starts_with('{') || !inside.ends_with('}')) {
            return Err("its functions are not where they were seen".to_owned());
        }
        around += &text[end..body.range.start];
        around += "{}";
        end = body.range.end;
    }
    around += &text[end..];
    Ok(Outline { bodies: found.0, around: tokens(&around)? })
}

/// A text without what the compiler does not see: comments, and how it is laid out.
pub(crate) fn tokens(text: &str) -> Result<String, String> {
    let tokens: TokenStream = text.parse().map_err(|error| format!("{error}"))?;
    Ok(tokens.to_string())
}

struct Found(Vec<Body>);

impl Found {
    fn add(&mut self, attributes: &[syn::Attribute], of: &syn::Signature, block: &syn::Block) {
        let braces = block.brace_token.span;
        let range = braces.open().byte_range().start..braces.close().byte_range().end;
        let inner =
            attributes.iter().any(|attribute| matches!(attribute.style, syn::AttrStyle::Inner(_)));
        let fixed = if of.constness.is_some() {
            Some("a const fn, which may run in the compiler")
        } else if is_opaque(&of.output) {
            Some("a function whose type is its body's")
        } else if inner {
            Some("a function with attributes inside its body")
        } else {
            None
        };
        self.0.push(Body { range, fixed });
    }
}

impl<'a> Visit<'a> for Found {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.add(&item.attrs, &item.sig, &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.add(&item.attrs, &item.sig, &item.block);
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.attrs, &item.sig, block);
        }
    }
}

/// Whether an `impl Trait` is part of what a function returns.
fn is_opaque(output: &syn::ReturnType) -> bool {
    struct Opaque(bool);
    impl<'a> Visit<'a> for Opaque {
        fn visit_type_impl_trait(&mut self, _: &'a syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut opaque = Opaque(false);
    opaque.visit_return_type(output);
    opaque.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "//! é\nfn a() { if x {} }\nimpl T {\n    /// B.\n    const fn b() -> u8 { 1 }\n}\n\
                        trait U {\n    fn c();\n    fn d() -> Option<impl Clone> { fn e() {} None }\n}\n";

    #[test]
    fn bodies_are_found_wherever_functions_are() {
        let outline = outline(TEXT).unwrap();
        let bodies: Vec<(&str, bool)> = outline
            .bodies
            .iter()
            .map(|body| (&TEXT[body.range.clone()], body.fixed.is_some()))
            .collect();
        let expected = [("{ if x {} }", false), ("{ 1 }", true), ("{ fn e() {} None }", true)];
        assert_eq!(bodies, expected);
    }

    #[test]
    fn comments_and_layout_are_not_around_but_a_signature_is() {
        let around = |text: &str| outline(text).unwrap().around;
        let plain = around("fn a(x: u8) -> u8 { x }\n");
        assert_eq!(around("// Says.\nfn a(x: u8)\n    -> u8 { // x\n 7 }\n"), plain);
        assert_ne!(around("fn a(y: u8) -> u8 { x }\n"), plain);
        assert_ne!(around("fn a(x: u8) -> u8 { x }\nfn b() {}\n"), plain);
    }

    #[test]
    fn what_is_no_rust_is_an_error() {
        assert!(outline("fn a() { 1 += ; }").is_err());
    }
}
