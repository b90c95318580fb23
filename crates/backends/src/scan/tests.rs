//! What the scanner finds is what [`Page`] finds.

use proptest::prelude::*;
use protocol::scrape::{Page, Scraped};

use super::*;

const NAMES: [&str; 3] = ["vllm:a", "vllm:ab", "b_total"];

/// What a full parse finds, in the scanner's words.
fn by_page(page: &Page) -> Vec<(usize, &Scraped)> {
    let mut found = Vec::new();
    for sample in &page.samples {
        if let Some(index) = NAMES.iter().position(|name| *name == sample.name) {
            found.push((index, sample));
        }
    }
    found
}

/// Both find the same samples, or the page is one that [`Page`] does not take.
fn agree(text: &str) -> Result<(), TestCaseError> {
    let found: Vec<_> = samples(text, &NAMES).collect();
    let Ok(page) = Page::parse(text) else { return Ok(()) };
    let expected = by_page(&page);
    prop_assert_eq!(found.len(), expected.len(), "{:?}", text);
    for (sample, (name, scraped)) in found.into_iter().zip(expected) {
        let sample = sample.map_err(|broken| TestCaseError::fail(broken.line.to_owned()))?;
        prop_assert_eq!(sample.name, name);
        let value: f64 = sample.value.parse().map_err(|_| TestCaseError::fail("no number"))?;
        prop_assert_eq!(value.to_bits(), scraped.value.to_bits());
        for (label, value) in &scraped.labels {
            prop_assert_eq!(&sample.labels.get(label), value);
        }
        prop_assert_eq!(sample.labels.get("not there"), "");
    }
    Ok(())
}

fn label() -> impl Strategy<Value = String> {
    let value = r#"([a-z ={},#:.]|\\\\|\\"|\\n|é){0,8}"#;
    ("l[0-9]{3}", value).prop_map(|(name, value)| format!("{name}=\"{value}\""))
}

fn line() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        3 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned),
        1 => "(vllm:)?[ab]{1,3}(_total|_bucket)?",
    ];
    let labels = prop::collection::vec(label(), 0..3).prop_map(|mut all| {
        all.sort_unstable();
        all.dedup_by(|a, b| a[..4] == b[..4]);
        if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
    });
    let value = prop_oneof![
        any::<u32>().prop_map(|value| format!("{value}.0")),
        any::<f64>().prop_map(|value| format!("{value:e}")),
        Just("+Inf".to_owned()),
        Just("NaN".to_owned()),
    ];
    let sample = (name, labels, value, "[ \t]?", "\r?")
        .prop_map(|(name, labels, value, lead, end)| format!("{lead}{name}{labels} {value}{end}"));
    prop_oneof![
        8 => sample,
        1 => "# (TYPE|HELP) vllm:a gauge",
        1 => Just(String::new()),
    ]
}

proptest! {
    #[test]
    fn the_scanner_finds_what_a_full_parse_finds(lines in prop::collection::vec(line(), 0..20)) {
        let text = lines.join("\n");
        prop_assert!(Page::parse(&text).is_ok(), "the generator makes pages: {text:?}");
        agree(&text)?;
        agree(&format!("{text}\n"))?;
    }

    #[test]
    fn whatever_the_bytes_are_nothing_panics(text in "(?s)(vllm:a|b_total|[{}=\"\\\\ ,\n#0-9]|.){0,60}") {
        agree(&text)?;
        let _ = declares(&text, "vllm:a");
    }
}

#[test]
fn a_timestamp_behind_the_value_is_passed_over() {
    let found: Vec<_> = samples("b_total{x=\"1\"} 3 1395066363000\n", &NAMES).collect();
    assert_eq!(found[0].map(|sample| sample.value), Ok("3"));
}

#[test]
fn a_line_that_breaks_off_is_named() {
    let found: Vec<_> = samples("vllm:a{x=\"1\nvllm:ab{x=\"1\"}\n", &NAMES).collect();
    let broken =
        [Broken { name: 0, line: "vllm:a{x=\"1" }, Broken { name: 1, line: "vllm:ab{x=\"1\"}" }];
    assert_eq!(found, broken.map(Err));
}
