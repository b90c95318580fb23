//! Whatever bytes come, reading them ends in a request or in an OpenAI error body.

use proptest::prelude::*;
use protocol::openai::{
    ChatRequest, CompletionRequest, DetokenizeRequest, RequestError, TokenizeRequest,
};
use serde_json::{Value, json};

use crate::error::ApiError;

/// All that can be said of a body without a model.
fn read_all(body: &[u8]) -> [Result<(), RequestError>; 4] {
    [
        CompletionRequest::parse(body)
            .and_then(|request| request.sampling.check(2048, 49152, false))
            .map(drop),
        ChatRequest::parse(body)
            .and_then(|request| request.sampling.check(2048, 49152, false))
            .map(drop),
        TokenizeRequest::parse(body).map(drop),
        DetokenizeRequest::parse(body).map(drop),
    ]
}

/// The body of an error has the four fields, and says what its status says.
fn check(body: &[u8]) -> Result<(), TestCaseError> {
    for error in read_all(body).into_iter().filter_map(Result::err) {
        let error = ApiError::from(error);
        let body: Value = serde_json::to_value(error.body()).unwrap();
        let detail = body["error"].as_object().unwrap();
        let mut fields: Vec<_> = detail.keys().map(String::as_str).collect();
        fields.sort_unstable();
        prop_assert_eq!(fields, ["code", "message", "param", "type"]);
        prop_assert!(!detail["message"].as_str().unwrap().is_empty());
        prop_assert_eq!(detail["code"].as_u64().unwrap(), 400);
    }
    Ok(())
}

/// Values that clients really send, and values that nobody should.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just(0), Just(1), Just(-1), Just(7)].prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
        prop_oneof![Just("1"), Just("nan"), Just("1e999"), Just("true"), Just("text")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(
                prop_oneof![Just("type"), Just("text"), Just("role"), Just("content")]
                    .prop_map(str::to_owned),
                inner,
                0..3
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const FIELDS: [&str; 20] = [
    "model",
    "prompt",
    "messages",
    "tokens",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "min_tokens",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "stop",
    "stop_token_ids",
    "stream",
    "stream_options",
    "ignore_eos",
    "logprobs",
    "tools",
    "response_format",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..256)) {
        check(&body)?;
    }

    #[test]
    fn any_values_in_known_fields(
        fields in prop::collection::vec((prop::sample::select(&FIELDS[..]), value()), 0..5),
    ) {
        let mut body = json!({"model": "m", "prompt": "a", "tokens": [1],
            "messages": [{"role": "user", "content": "a"}]});
        for (name, value) in fields {
            body[name] = value;
        }
        check(body.to_string().as_bytes())?;
    }

    #[test]
    fn a_valid_body_with_bytes_changed(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let body = json!({"model": "m", "prompt": ["a", "b"], "messages": [{"role": "user",
            "content": [{"type": "text", "text": "é"}]}], "stop": ["x"], "stream": true,
            "stream_options": {"include_usage": true}, "temperature": 0.5, "seed": 1});
        let mut body = body.to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        check(&body)?;
        body.truncate(cut.index(body.len()));
        check(&body)?;
    }
}

#[test]
fn a_valid_body_is_a_request() {
    let body = json!({"prompt": "a", "tokens": [1], "messages": [{"role": "u", "content": "a"}]});
    assert_eq!(read_all(body.to_string().as_bytes()), [const { Ok(()) }; 4]);
}
