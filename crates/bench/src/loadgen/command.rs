//! The command lines of load generators, for the same work. `DIR` stands for the generator's own folder.

use super::generator::{GUIDELLM, Kind, OURS, TOKENS, VLLM, Work};

/// Requests that wrk sends in a second, about: it is told a time, not a number.
const WRK_PER_SECOND: usize = 20_000;

/// What stands behind the program's name; `None` for work that it cannot do.
pub(super) fn line(kind: Kind, work: Work, url: &str) -> Option<String> {
    match (kind, work) {
        (Kind::Ours, _) => Some(ours(work, url)),
        (Kind::Wrk, Work::Unary { concurrency, requests }) => {
            let seconds = requests.div_ceil(WRK_PER_SECOND);
            Some(format!(
                "--threads 1 --connections {concurrency} --duration {seconds}s --script DIR/post.lua \
                 {url}/v1/completions"
            ))
        }
        (Kind::Oha, Work::Unary { concurrency, requests }) => Some(format!(
            "-n {requests} -c {concurrency} --no-tui --output-format json -m POST -T application/json \
             -D DIR/body.json {url}/v1/completions"
        )),
        (Kind::Wrk | Kind::Oha, _) | (_, Work::Unary { .. }) => None,
        (Kind::Aiperf, _) => Some(aiperf(work, url)),
        (Kind::Guidellm, _) => Some(guidellm(work, url)),
        (Kind::VllmBench, _) => Some(vllm_bench(work, url)),
    }
}

fn ours(work: Work, url: &str) -> String {
    let pace = match work {
        Work::Unary { concurrency, .. } => format!("--closed {concurrency} --no-stream"),
        Work::Streams { concurrency, .. } => format!("--closed {concurrency}"),
        Work::Arrivals { rate, .. } => format!("--rate {rate} --arrivals poisson"),
    };
    let requests = work.requests();
    format!(
        "--url {url} --model m --input 8 --output {TOKENS} --requests {requests} {pace} --quiet \
         --json DIR/{OURS}"
    )
}

fn aiperf(work: Work, url: &str) -> String {
    let pace = match work {
        Work::Unary { concurrency, .. } | Work::Streams { concurrency, .. } => {
            format!("--concurrency {concurrency}")
        }
        Work::Arrivals { rate, .. } => format!("--request-rate {rate} --arrival-pattern poisson"),
    };
    let requests = work.requests();
    format!(
        "profile -m m --tokenizer DIR/tokenizer --url {url} --endpoint-type completions --streaming \
         --use-legacy-max-tokens --use-server-token-count --synthetic-input-tokens-mean 8 \
         --output-tokens-mean {TOKENS} --request-count {requests} {pace} --ui none --export-level summary \
         --no-gpu-telemetry --artifact-dir DIR"
    )
}

fn guidellm(work: Work, url: &str) -> String {
    let pace = match work {
        Work::Unary { concurrency, .. } | Work::Streams { concurrency, .. } => {
            format!("kind=concurrent,streams={concurrency}")
        }
        Work::Arrivals { rate, .. } => format!("kind=poisson,rate={rate}"),
    };
    let requests = work.requests();
    format!(
        "run --backend kind=openai_http,target={url},model=m,request_format=/v1/completions --profile {pace} \
         --constraint kind=max_requests,count={requests} --tokenizer kind=hf_auto,model=DIR/tokenizer \
         --data kind=json_file,path=DIR/prompts.jsonl --output kind=json,path=DIR/{GUIDELLM} \
         --disable-console"
    )
}

fn vllm_bench(work: Work, url: &str) -> String {
    let pace = match work {
        Work::Unary { concurrency, .. } | Work::Streams { concurrency, .. } => {
            format!("--max-concurrency {concurrency}")
        }
        Work::Arrivals { rate, .. } => format!("--request-rate {rate}"),
    };
    let requests = work.requests();
    format!(
        "bench serve --backend openai --base-url {url} --endpoint /v1/completions --model m \
         --tokenizer DIR/tokenizer --dataset-name random --random-input-len 8 --random-output-len {TOKENS} \
         --num-prompts {requests} {pace} --ignore-eos --disable-tqdm --save-result --result-dir DIR \
         --result-filename {VLLM}"
    )
}
