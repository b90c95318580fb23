//! Whatever a backend answers, reading it ends in a reading or in an error, and a reading is sane.

use backends::{Kind, detect_models, detect_page, read, read_max_context, read_models};
use proptest::prelude::*;
use proptest::sample::Index;

const PAGES: [&str; 5] = [
    include_str!("../../server/tests/golden/vllm-0.32.0/metrics-after-load.txt"),
    include_str!("recorded/llama.cpp-b11549-load.txt"),
    include_str!("made/sglang-0.5.23.txt"),
    include_str!("made/trtllm.txt"),
    include_str!("made/tgi-3.txt"),
];

fn check(page: &str) -> Result<(), TestCaseError> {
    let _ = detect_page(page);
    for kind in Kind::ALL {
        match read(kind, page) {
            Ok(reading) => {
                let usage = reading.signals(u32::MAX).kv_usage;
                prop_assert!((0.0..=1.0).contains(&usage), "{kind}: {usage}");
            }
            Err(error) => prop_assert!(error.to_string().len() < 1000, "{error}"),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_page_with_bytes_changed_cut_or_doubled_is_read_or_refused(
        page in prop::sample::select(&PAGES[..]),
        edits in prop::collection::vec((any::<Index>(), any::<Index>(), "[{}\"\\\\=, \n0-9eNa.+-]{0,3}"), 1..8),
    ) {
        let mut text = page.to_owned();
        for (at, length, put) in edits {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary(start + length.index(40).min(text.len() - start));
            text.replace_range(start..end, &put);
        }
        check(&text)?;
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,400}") {
        check(&text)?;
    }

    #[test]
    fn any_body_is_a_list_of_models_or_an_error(
        body in r#"(?s)([{}\[\]:,"]|"(data|id|owned_by|meta|n_ctx|max_model_len)"|[0-9]{1,12}|null|.){0,60}"#,
    ) {
        let _ = detect_models(body.as_bytes());
        for kind in Kind::ALL {
            let _ = read_models(kind, body.as_bytes());
            let _ = read_max_context(kind, body.as_bytes());
        }
    }
}
