//! Bodies as clients send them, and bodies as nobody should.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(body: &Value, check: impl FnOnce(Features<'_>)) {
    let body = body.to_string();
    check(Features::read(body.as_bytes()).expect("a JSON object"));
}

#[test]
fn a_chat_shows_what_it_needs() {
    let body = json!({
        "model": "qwen",
        "user": "ann",
        "stream": true,
        "max_tokens": 9,
        "max_completion_tokens": 7,
        "response_format": {"json_schema": {"type": "text"}, "type": "json_schema"},
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {"a": ["b"]}}}],
        "messages": [
            {"role": "system", "content": "12345"},
            {"role": "user", "content": [
                {"type": "text", "text": "678"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ]},
        ],
    });
    read(&body, |features| {
        // function, name, add, parameters, a, b
        let tools = 8 + 4 + 3 + 10 + 1 + 1;
        let expected = Features {
            model: Some("qwen".into()),
            user: Some("ann".into()),
            text_bytes: 8 + tools,
            token_ids: 0,
            images: 1,
            audios: 1,
            videos: 0,
            max_tokens: Some(7),
            tools: true,
            structured: true,
            stream: true,
            side_effects: false,
        };
        assert_eq!(features, expected);
    });
}

#[test]
fn prompts_come_as_text_lists_and_token_ids() {
    let counts = |prompt: Value| {
        let mut seen = (0, 0);
        read(&json!({"prompt": prompt}), |found| seen = (found.text_bytes, found.token_ids));
        seen
    };
    assert_eq!(counts(json!("four")), (4, 0));
    assert_eq!(counts(json!(["four", "five5"])), (9, 0));
    assert_eq!(counts(json!([1, 2, 3])), (0, 3));
    assert_eq!(counts(json!([[1, 2], [3]])), (0, 3));
    assert_eq!(counts(json!([[["deep"]]])), (0, 0));
    read(&json!({"input": ["one", "two"]}), |found| assert_eq!(found.text_bytes, 6));
}

#[test]
fn escapes_count_as_what_they_mean() {
    let body = br#"{"model":"a\/b","messages":[{"role":"user","content":"\u00e9\n"}]}"#;
    let features = Features::read(body).expect("JSON");
    assert_eq!((features.model.as_deref(), features.text_bytes), (Some("a/b"), 3));
}

#[test]
fn of_two_equal_fields_the_last_counts() {
    let body = br#"{"model":"a","messages":[{"content":"long text"}],"tools":[{"type":"mcp"}],
                    "model":"b","messages":[{"content":"x"}],"tools":null,
                    "response_format":{"type":"json_object"},"response_format":null}"#;
    let features = Features::read(body).expect("JSON");
    let expected = Features { model: Some("b".into()), text_bytes: 1, ..Features::default() };
    assert_eq!(features, expected);
}

#[test]
fn wrong_types_are_the_engines_to_complain_about() {
    let body = json!({
        "model": {"a": 1}, "user": [1], "messages": 5, "prompt": true, "tools": "x", "max_tokens": -1,
        "stream": "yes", "response_format": [{"type": "json_object"}], "store": 1,
    });
    // A text where tools should be is nothing that a template prints.
    read(&body, |features| assert_eq!(features, Features::default()));
}

#[test]
fn what_the_server_would_do_twice_is_told() {
    let told = |body: Value| {
        let mut seen = false;
        read(&body, |features| seen = features.side_effects);
        seen
    };
    assert!(told(json!({"store": true})));
    assert!(told(json!({"tools": [{"type": "function"}, {"type": "web_search"}]})));
    assert!(!told(json!({"store": false, "tools": [{"type": "function"}]})));
}

#[test]
fn no_object_is_no_request() {
    let deep =
        format!("{{\"tools\":[{{\"function\":{}1{}}}]}}", "[".repeat(5000), "]".repeat(5000));
    for body in ["", "null", "[]", "5", "{", "{} x", "{\"model\":}", deep.as_str()] {
        assert!(Features::read(body.as_bytes()).is_err(), "{body:.20}");
    }
    // What is skipped is skipped without recursion.
    let deep = format!("{{\"other\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    assert!(Features::read(deep.as_bytes()).is_ok());
}

/// Any JSON, with names that mean something in many places.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("model"),
        Just("messages"),
        Just("content"),
        Just("type"),
        Just("text"),
        Just("tools"),
        Just("prompt"),
        Just("input"),
        Just("response_format"),
        Just("store"),
        Just("é"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(Value::from("image_url")),
    ];
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(|map| {
                Value::Object(
                    map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_is_read_and_counts_stay_within_its_bytes(value in any_json()) {
        let body = value.to_string();
        match Features::read(body.as_bytes()) {
            Ok(features) => {
                prop_assert!(value.is_object());
                let counted = features.text_bytes + features.token_ids + u64::from(features.images);
                prop_assert!(counted <= body.len() as u64);
                let model = value.get("model").and_then(Value::as_str);
                prop_assert_eq!(features.model.as_deref(), model);
            }
            Err(_) => prop_assert!(!value.is_object()),
        }
    }

    #[test]
    fn bytes_of_any_kind_are_no_reason_to_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = Features::read(&body);
    }

    #[test]
    fn a_body_that_is_cut_is_no_request(value in any_json(), cut in any::<prop::sample::Index>()) {
        let body = value.to_string();
        let cut = &body.as_bytes()[..cut.index(body.len())];
        prop_assert!(Features::read(cut).is_err());
    }
}

#[test]
fn only_the_outermost_fields_count_and_the_last_of_equal_ones() {
    let body = br#" { "metadata": {"model": "wrong", "x": ["}", "\"]"]}, "model" : "m",
        "stream":true, "max_tokens": 7, "messages": [{"role": "user", "content": "a \"b\" ]"}],
        "model": "last" } "#;
    let outline = Outline::of(body);
    assert_eq!((outline.model().as_deref(), outline.max_tokens()), (Some("last"), Some(7)));
    assert_eq!(outline.prompt(), br#"[{"role": "user", "content": "a \"b\" ]"}]"#);
    let at = outline.model_at().expect("a model");
    assert_eq!(body[at], br#""last""#[..]);
}

#[test]
fn the_outline_and_the_features_are_of_one_mind() {
    let body = br#"{"mod\u0065l":"a\/b","max_tokens":9,"max_completion_tokens":7,"input":"text","store":true}"#;
    let (outline, features) = (Outline::of(body), Features::read(body).expect("JSON"));
    assert_eq!(outline.model().as_deref(), Some("a/b"), "names and values may have escapes");
    assert_eq!(outline.model(), features.model);
    assert_eq!((outline.max_tokens(), features.max_tokens), (Some(7), Some(7)));
    assert_eq!((outline.prompt(), features.text_bytes), (&br#""text""#[..], 4));
    assert!(outline.may_have_side_effects() && features.side_effects);
}

#[test]
fn whatever_may_have_side_effects_is_seen() {
    for (body, may) in [
        (&br#"{"model":"m","prompt":"store"}"#[..], false),
        (br#"{"model":"m","store":true}"#, true),
        (br#"{"tools":[{"type":"web_search"}]}"#, true),
        (br#"{"tools":[{"type":"function"}]}"#, false),
        (br#"{"tools":[{"type":"function"},]}"#, true),
        (br#"{"st\u006fre":true}"#, true),
        (br#"{"metadata":{"store":true}}"#, false),
        (br#"{"prompt":"cut"#, true),
        (b"\xff\xfe", true),
    ] {
        let outline = Outline::of(body);
        assert_eq!(outline.may_have_side_effects(), may, "{}", body.escape_ascii());
    }
}

#[test]
fn a_body_that_is_no_object_has_no_fields() {
    for body in [&b""[..], b"[]", b"null", b"{", b"{\"model", b"{\"model\":\"m", b"\xff\xfe"] {
        let outline = Outline::of(body);
        let found = (outline.model(), outline.max_tokens(), outline.prompt());
        assert_eq!(found, (None, None, &b""[..]), "{}", body.escape_ascii());
    }
}

proptest! {
    #[test]
    fn the_outline_agrees_with_a_full_parse(prompt in any_json(), other in any_json(), max: u32, pretty: bool) {
        let body = json!({"a": other, "max_tokens": max, "prompt": prompt, "model": "m-1"});
        let body = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let body = body.expect("JSON");
        let outline = Outline::of(body.as_bytes());
        let model = outline.model();
        prop_assert_eq!(model.as_deref(), Some("m-1"));
        prop_assert_eq!(outline.max_tokens(), Some(u64::from(max)));
        let read: Value = serde_json::from_slice(outline.prompt()).expect("JSON");
        prop_assert_eq!(read, prompt);
        prop_assert_eq!(&body[outline.model_at().expect("it is there")], "\"m-1\"");
    }

    #[test]
    fn broken_json_is_walked_to_an_end(
        bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ model1".to_vec()), 0..200)
    ) {
        let body = [b"{\"model\":", &bytes[..]].concat();
        let outline = Outline::of(&body);
        _ = (outline.model_at(), outline.may_have_side_effects(), outline.features());
    }
}
