//! What can be wrong with a request, and the body that says so.

use serde::{Deserialize, Serialize};

/// The body of every error that is not a plain 404 or 405.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The only field.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For people.
    pub message: String,
    /// For programs: `BadRequestError`, `NotFoundError`, or the status in words.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field at fault.
    pub param: Option<String>,
    /// The HTTP status.
    pub code: u16,
}

/// A request that is not served, for what it says. The server maps these to HTTP statuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The body is no JSON.
    #[error(
        "1 validation error:\n  {{'type': 'json_invalid', 'loc': 'body.{offset}', 'msg': 'JSON decode \
         error', 'input': '<dict of 0 items>', 'ctx': {{'error': '{reason}'}}}}"
    )]
    NotJson {
        /// Characters of the body before the mistake.
        offset: usize,
        /// What the parser expected there.
        reason: String,
    },
    /// There is no body, or it is `null`.
    #[error(
        "1 validation error:\n  {{'type': 'missing', 'loc': 'body', 'msg': 'Field required', 'input': None}}"
    )]
    NoBody,
    /// The body is no UTF-8.
    #[error("There was an error parsing the body")]
    NotText,
    /// A field has the wrong type, or a required one is missing.
    #[error(
        "1 validation error:\n  {{'type': '{kind}', 'loc': '{location}', 'msg': '{reason}', 'input': \
         {input}}}"
    )]
    WrongType {
        /// pydantic's name of the mistake.
        kind: &'static str,
        /// Where: `body.temperature`, `body.messages.0.role`.
        location: String,
        /// What was expected.
        reason: &'static str,
        /// What was found, as Python prints it.
        input: String,
    },
    /// A value outside its range.
    #[error("{reason} (parameter={param}, value={value})")]
    OutOfRange {
        /// The field.
        param: &'static str,
        /// The range, and what was found.
        reason: String,
        /// What was found.
        value: String,
    },
    /// Fields that are right each for itself and wrong together, or empty where that means nothing.
    #[error("{reason}")]
    Invalid {
        /// The field, where one can be named.
        param: Option<&'static str>,
        /// What is wrong.
        reason: String,
    },
    /// A field that would change the answer, and that this server does not know how to honour.
    #[error("`{param}` is not supported by this server; leave it out.")]
    Unsupported {
        /// The field.
        param: String,
    },
    /// A model that is not served here.
    #[error("The model `{asked}` does not exist. Valid aliases: {served}.")]
    UnknownModel {
        /// The name in the request.
        asked: String,
        /// The name that would have been right.
        served: String,
    },
    /// The prompt alone fills the model's context.
    #[error(
        "This model's maximum context length is {limit} tokens. However, your prompt contains at least \
         {tokens} input tokens, which exceeds this limit even without any output tokens. Please reduce the \
         length of the input prompt. (parameter=input_tokens, value={tokens})"
    )]
    PromptTooLong {
        /// The model's context, in tokens.
        limit: usize,
        /// The prompt, in tokens.
        tokens: usize,
    },
    /// More bytes than the server reads.
    #[error("The request body is larger than {limit} bytes.")]
    BodyTooLarge {
        /// The most bytes that are read.
        limit: usize,
    },
    /// The body ended early.
    #[error("The request body could not be read.")]
    BodyUnreadable,
    /// Not announced as JSON.
    #[error("Unsupported Media Type: Only 'application/json' is allowed")]
    NotAnnouncedAsJson,
}

impl RequestError {
    pub(crate) fn invalid(param: Option<&'static str>, reason: impl Into<String>) -> Self {
        Self::Invalid { param, reason: reason.into() }
    }

    /// The field at fault, as the error body names it.
    #[must_use]
    pub fn param(&self) -> Option<String> {
        match self {
            Self::NoBody => Some("body".to_owned()),
            Self::NotJson { offset, .. } => Some(format!("body.{offset}")),
            Self::WrongType { location, .. } => Some(location.clone()),
            Self::OutOfRange { param, .. } => Some((*param).to_owned()),
            Self::Invalid { param, .. } => param.map(str::to_owned),
            Self::Unsupported { param } => Some(param.clone()),
            Self::UnknownModel { .. } => Some("model".to_owned()),
            Self::PromptTooLong { .. } => Some("input_tokens".to_owned()),
            Self::NotText
            | Self::BodyTooLarge { .. }
            | Self::BodyUnreadable
            | Self::NotAnnouncedAsJson => None,
        }
    }

    /// The error body's `type`. vLLM gives mistakes that pydantic finds the status in words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotJson { .. }
            | Self::NoBody
            | Self::NotText
            | Self::WrongType { .. }
            | Self::NotAnnouncedAsJson => "Bad Request",
            Self::UnknownModel { .. } => "NotFoundError",
            Self::BodyTooLarge { .. } => "Request Entity Too Large",
            Self::OutOfRange { .. }
            | Self::Invalid { .. }
            | Self::Unsupported { .. }
            | Self::PromptTooLong { .. }
            | Self::BodyUnreadable => "BadRequestError",
        }
    }
}
