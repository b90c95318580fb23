//! What reading a metrics page costs, in CPU time: the adapter, and a full parse of the same page.
//!
//!     cargo run --release -p backends --example read_cost

use std::hint::black_box;

use backends::{Kind, read};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use protocol::scrape::Page;

const VLLM: &str = include_str!("../../server/tests/golden/vllm-0.32.0/metrics-after-load.txt");
const ENGINE: &str = include_str!("../tests/recorded/engine-0.1.0-load.txt");
const LLAMA_CPP: &str = include_str!("../tests/recorded/llama.cpp-b11549-load.txt");

/// Pages read for one figure.
const ROUNDS: u32 = 2000;

fn main() {
    println!(
        "page               bytes   lines   adapter   full parse   (microseconds of CPU a page)"
    );
    for (name, kind, page) in [
        ("vLLM 0.32.0", Kind::Vllm, VLLM),
        ("our engine", Kind::Engine, ENGINE),
        ("llama.cpp", Kind::LlamaCpp, LLAMA_CPP),
    ] {
        let adapter = cost(|| drop(black_box(read(kind, black_box(page)))));
        let full = cost(|| drop(black_box(Page::parse(black_box(page)))));
        let (bytes, lines) = (page.len(), page.lines().count());
        println!("{name:16} {bytes:7} {lines:7} {adapter:9.1} {full:12.1}");
    }
}

/// Microseconds of user and system time for one call.
fn cost(call: impl Fn()) -> f64 {
    let spent = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
    };
    call();
    let before = spent();
    (0..ROUNDS).for_each(|_| call());
    (spent() - before) as f64 / f64::from(ROUNDS)
}
