//! Names that nobody chose.

/// Letters of a generated name's end: no vowels, so that no words come about (as in Kubernetes).
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many of them a name gets.
pub(crate) const SUFFIX: usize = 5;

/// A name that begins like this and has an end of its own.
pub(crate) fn generate(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4();
    let letter = |byte: &u8| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]);
    let end: String = random.as_bytes().iter().take(SUFFIX).map(letter).collect();
    format!("{prefix}{end}")
}
