//! The tokens of a label selector's text.

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    Not,
    NotEquals,
    Equals,
    DoubleEquals,
    Greater,
    Less,
    Comma,
    Open,
    Close,
    End,
}

impl<'a> Token<'a> {
    /// Its text, as messages quote it.
    pub(super) fn text(self) -> &'a str {
        match self {
            Self::Word(text) => text,
            Self::Not => "!",
            Self::NotEquals => "!=",
            Self::Equals => "=",
            Self::DoubleEquals => "==",
            Self::Greater => ">",
            Self::Less => "<",
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::End => "",
        }
    }
}

/// Splits a text.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let symbols = [
            ("!=", Token::NotEquals),
            ("==", Token::DoubleEquals),
            ("!", Token::Not),
            ("=", Token::Equals),
            (">", Token::Greater),
            ("<", Token::Less),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
        ];
        let symbol = symbols.into_iter().find(|(symbol, _)| rest.starts_with(symbol));
        let (token, length) = match symbol {
            Some((symbol, token)) => (token, symbol.len()),
            None => {
                let end = rest.find(|c: char| c.is_whitespace() || "!=<>,()".contains(c));
                let end = end.unwrap_or(rest.len()).max(first.len_utf8());
                (Token::Word(&rest[..end]), end)
            }
        };
        found.push(token);
        rest = rest[length..].trim_start();
    }
    found
}
