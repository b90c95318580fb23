//! The adapters on pages that real servers printed, and on pages made from their sources.

use backends::{Kind, Lora, ReadError, Reading, detect_page, read};
use protocol::scrape::Page;

const VLLM: &str = include_str!("../../server/tests/golden/vllm-0.32.0/metrics-after-load.txt");
const VLLM_LOADED: &str = include_str!("recorded/vllm-0.32.0-load.txt");
const ENGINE: &str = include_str!("recorded/engine-0.1.0-load.txt");
const LLAMA_CPP: &str = include_str!("recorded/llama.cpp-b11549-load.txt");
const SGLANG: &str = include_str!("made/sglang-0.5.23.txt");
const TENSORRT_LLM: &str = include_str!("made/trtllm.txt");
const TENSORRT_LLM_FRESH: &str = include_str!("made/trtllm-fresh.txt");
const TGI: &str = include_str!("made/tgi-3.txt");

/// Every page that we have, and whose it is.
const PAGES: [(Kind, &str); 8] = [
    (Kind::Vllm, VLLM_LOADED),
    (Kind::Vllm, VLLM),
    (Kind::Vllm, ENGINE),
    (Kind::LlamaCpp, LLAMA_CPP),
    (Kind::Sglang, SGLANG),
    (Kind::TensorRtLlm, TENSORRT_LLM),
    (Kind::TensorRtLlm, TENSORRT_LLM_FRESH),
    (Kind::Tgi, TGI),
];

#[test]
fn every_page_is_known_by_its_names() {
    for (kind, page) in PAGES {
        assert_eq!(detect_page(page), Some(kind));
    }
    assert_eq!(detect_page("# TYPE up gauge\nup 1\n"), None);
}

#[test]
fn a_page_of_another_server_is_an_error_and_not_an_idle_server() {
    for (kind, page) in PAGES {
        assert!(read(kind, page).is_ok(), "{kind}");
    }
    assert!(matches!(read(Kind::Vllm, SGLANG), Err(ReadError::Missing { declared: false, .. })));
    assert!(matches!(read(Kind::LlamaCpp, VLLM), Err(ReadError::Missing { .. })));
}

#[test]
fn sglangs_parts_by_priority_and_its_ranks_are_not_counted_twice() {
    let reading = read(Kind::Sglang, SGLANG).unwrap();
    assert_eq!(
        (reading.waiting, reading.running, reading.kv_usage),
        (Some(4), Some(20), Some(0.5))
    );
    let pool = Lora { slots: Some(8), used: Some(2), ..Lora::default() };
    assert!(pool.has_room());
    assert_eq!(reading.lora, Some(pool));
}

#[test]
fn a_server_that_has_not_begun_to_say_is_unknown_and_one_that_stopped_is_an_error() {
    assert_eq!(read(Kind::TensorRtLlm, TENSORRT_LLM_FRESH), Ok(Reading::default()));
    // Requests have ended, and no gauge was ever set: `enable_iter_perf_stats` is off.
    let success = "trtllm_request_success_total{finished_reason=\"stop\"} 31.0\n";
    let error = read(Kind::TensorRtLlm, &format!("{TENSORRT_LLM_FRESH}{success}")).unwrap_err();
    let expected = "tensorrt-llm: no sample of trtllm_num_requests_waiting on the page, \
                    though its type is declared";
    assert_eq!(error.to_string(), expected);
    // One of the gauges went away.
    let page = TGI.replace("\ntgi_queue_size 1", "");
    assert!(matches!(
        read(Kind::Tgi, &page),
        Err(ReadError::Missing { name: "tgi_queue_size", .. })
    ));
}

#[test]
fn tensorrt_llm_and_tgi_say_their_load() {
    let reading = read(Kind::TensorRtLlm, TENSORRT_LLM).unwrap();
    assert_eq!(
        (reading.waiting, reading.running, reading.kv_usage),
        (Some(5), Some(17), Some(0.625))
    );
    let reading = read(Kind::Tgi, TGI).unwrap();
    assert_eq!((reading.waiting, reading.running, reading.kv_usage), (Some(1), Some(3), None));
}

#[test]
fn of_vllms_adapters_the_newest_sample_counts() {
    let info = |running: &str, at: &str| {
        format!(
            "vllm:lora_requests_info{{max_lora=\"2\",running_lora_adapters=\"{running}\",waiting_lora_adapters=\"b\"}} {at}\n"
        )
    };
    let page = VLLM.to_owned() + &info("a,c", "1.789828498802105e+09") + &info("a", "1.7e+09");
    let lora = read(Kind::Vllm, &page).unwrap().lora.unwrap();
    assert!(lora.runs("a") && lora.runs("c") && !lora.runs("b"));
    assert_eq!((lora.slots, lora.waiting.as_slice()), (Some(2), &["b".to_owned()][..]));
    assert!(!lora.has_room());
}

#[test]
fn vllms_page_after_a_load_test_says_idle() {
    let reading = read(Kind::Vllm, VLLM).unwrap();
    assert_eq!((reading.waiting, reading.running), (Some(0), Some(0)));
    assert_eq!(reading.kv_usage, Some(0.0));
    assert!(!reading.asleep);
    assert_eq!(reading.lora, None);
}

#[test]
fn vllm_with_four_places_and_twelve_requests_says_that_eight_wait() {
    let reading = read(Kind::Vllm, VLLM_LOADED).unwrap();
    assert_eq!((reading.waiting, reading.running), (Some(8), Some(4)));
    let page = Page::parse(VLLM_LOADED).unwrap();
    assert_eq!(reading.kv_usage, page.total("vllm:kv_cache_usage_perc"));
}

#[test]
fn our_engines_page_under_load_says_what_a_full_parse_says() {
    let reading = read(Kind::Engine, ENGINE).unwrap();
    let page = Page::parse(ENGINE).unwrap();
    assert_eq!(reading.running.map(f64::from), page.total("vllm:num_requests_running"));
    assert_eq!(reading.kv_usage, page.total("vllm:kv_cache_usage_perc"));
    assert_eq!(reading.running, Some(256));
}

#[test]
fn llama_cpp_under_load_says_who_waits_and_nothing_of_its_cache() {
    let reading = read(Kind::LlamaCpp, LLAMA_CPP).unwrap();
    assert_eq!((reading.waiting, reading.running, reading.kv_usage), (Some(4), Some(2), None));
}

#[test]
fn a_renamed_metric_is_an_error_and_not_zero() {
    for name in ["num_requests_waiting", "num_requests_running", "kv_cache_usage_perc"] {
        let page = VLLM.replace(&format!("vllm:{name}{{"), &format!("vllm:{name}_v2{{"));
        let error = read(Kind::Vllm, &page).unwrap_err();
        assert!(
            matches!(&error, ReadError::Missing { name: missing, .. } if missing.ends_with(name)),
            "{error}"
        );
    }
}

#[test]
fn the_name_that_older_versions_of_vllm_had_is_read_too() {
    let page = ENGINE.replace("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc");
    assert_ne!(page, ENGINE);
    assert_eq!(read(Kind::Vllm, &page), read(Kind::Vllm, ENGINE));
}

#[test]
fn an_engine_that_sleeps_is_not_an_idle_one() {
    let awake = "sleep_state=\"awake\"} 1.0";
    let page = VLLM.replace(awake, "sleep_state=\"awake\"} 0.0");
    assert_ne!(page, VLLM);
    assert!(read(Kind::Vllm, &page).unwrap().asleep);
}

#[test]
fn data_parallel_ranks_are_one_server() {
    let twice: String = VLLM
        .lines()
        .flat_map(|line| [line.to_owned(), line.replace("engine=\"0\"", "engine=\"1\"")])
        .map(|line| match line.strip_prefix("vllm:num_requests_running{engine=\"1\"") {
            Some(_) => line.replace("} 0.0", "} 7.0"),
            None => line.replace("vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"smollm2-135m\"} 0.0", "vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"smollm2-135m\"} 0.5"),
        } + "\n")
        .collect();
    let reading = read(Kind::Vllm, &twice).unwrap();
    assert_eq!((reading.running, reading.kv_usage), (Some(7), Some(0.25)));
}

#[test]
fn what_a_server_does_not_say_comes_from_what_the_router_knows() {
    let reading = read(Kind::DeepSpeedMii, "").unwrap();
    assert_eq!((reading.waiting, reading.running, reading.kv_usage), (None, None, None));
    let signals = reading.signals(3);
    assert_eq!((signals.waiting, signals.running), (0, 3));
    assert_eq!(signals.kv_usage, backends::UNSAID_KV_USAGE);
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    for value in ["NaN", "-1.0", "+Inf", "many"] {
        let page = ENGINE.replace(
            "vllm:num_requests_waiting{engine=\"0\",model_name=\"llama-3.1-8b\"} 0.0",
            &format!(
                "vllm:num_requests_waiting{{engine=\"0\",model_name=\"llama-3.1-8b\"}} {value}"
            ),
        );
        let error = read(Kind::Vllm, &page).unwrap_err();
        assert!(matches!(&error, ReadError::Impossible { .. }), "{value}: {error}");
    }
}
