//! The adapters on pages that real servers printed, and on pages made from their sources.

use backends::{Kind, ReadError, read};
use protocol::scrape::Page;

const VLLM: &str = include_str!("../../server/tests/golden/vllm-0.32.0/metrics-after-load.txt");
const ENGINE: &str = include_str!("recorded/engine-0.1.0-load.txt");
const LLAMA_CPP: &str = include_str!("recorded/llama.cpp-b11549-load.txt");

#[test]
fn vllms_page_after_a_load_test_says_idle() {
    let reading = read(Kind::Vllm, VLLM).unwrap();
    assert_eq!((reading.waiting, reading.running), (Some(0), Some(0)));
    assert_eq!(reading.kv_usage, Some(0.0));
    assert!(!reading.asleep);
    assert_eq!(reading.lora, None);
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
