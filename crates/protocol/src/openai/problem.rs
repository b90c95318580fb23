//! An error as OpenAI itself writes it: `code` is a word, or null.
//!
//! vLLM's `code` is the HTTP status ([`ErrorBody`](super::ErrorBody)). A router answers for a service of many models, and
//! clients of such services look for words like `model_not_found`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The body of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// The only field.
    pub error: Problem,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// For people.
    pub message: String,
    /// For programs, coarsely: `invalid_request_error`, `rate_limit_error`, `server_error`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The field at fault, where one is.
    pub param: Option<Cow<'static, str>>,
    /// For programs, exactly: `model_not_found`.
    pub code: Option<Cow<'static, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_looks_as_openai_writes_it() {
        let error = Problem {
            message: "The model `x` does not exist.".to_owned(),
            kind: "invalid_request_error".into(),
            param: None,
            code: Some("model_not_found".into()),
        };
        let text = serde_json::to_string(&ProblemBody { error }).expect("plain fields");
        let expected = "{\"error\":{\"message\":\"The model `x` does not exist.\",\"type\":\"invalid_request_error\",\
                        \"param\":null,\"code\":\"model_not_found\"}}";
        assert_eq!(text, expected);
    }
}
