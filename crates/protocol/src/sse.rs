//! Server-sent events, as far as completion streams use them: frames of one `data:` line.
//!
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use serde::Serialize;

/// The content type of a stream, as vLLM sends it.
pub const CONTENT_TYPE: &str = "text/event-stream; charset=utf-8";

/// The frame after which nothing follows.
pub const DONE: &str = "data: [DONE]\n\n";

/// Appends one frame. JSON has no raw line breaks, so that one `data:` line always suffices.
///
/// # Errors
/// Where `body` has no JSON form.
pub fn push_frame(frames: &mut String, body: &impl Serialize) -> Result<(), serde_json::Error> {
    let body = serde_json::to_string(body)?;
    frames.push_str("data: ");
    frames.push_str(&body);
    frames.push_str("\n\n");
    Ok(())
}

/// The data of each complete frame in a transcript, in order.
pub fn data(transcript: &str) -> impl Iterator<Item = &str> {
    transcript.split_terminator("\n\n").filter_map(|frame| frame.strip_prefix("data: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_back() {
        let mut frames = String::new();
        push_frame(&mut frames, &"two\nlines").unwrap();
        frames.push_str(DONE);
        assert_eq!(frames, "data: \"two\\nlines\"\n\ndata: [DONE]\n\n");
        assert_eq!(data(&frames).collect::<Vec<_>>(), [r#""two\nlines""#, "[DONE]"]);
    }
}
