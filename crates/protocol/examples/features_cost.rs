//! Reads the features of one chat body again and again: what it costs is the program's CPU time over the rounds.
//!
//!     cargo build --release -p protocol --example features_cost
//!     time target/release/examples/features_cost KILOBYTES ROUNDS

use std::hint::black_box;

use protocol::features::Features;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let kilobytes = numbers.next().unwrap_or(Ok(32))?;
    let rounds = numbers.next().unwrap_or(Ok(100_000))?;
    let line = "The quick brown fox jumps over the \\\"lazy\\\" dog, and says nothing of it.\\n";
    let text = line.repeat(kilobytes * 1024 / line.len());
    let body = format!(
        "{{\"model\":\"chat\",\"stream\":true,\"max_tokens\":64,\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
    );
    let mut read = 0;
    for _ in 0..rounds {
        read += Features::read(black_box(body.as_bytes()))?.text_bytes;
    }
    println!("{} bytes a body, {read} bytes of text read in {rounds} rounds", body.len());
    Ok(())
}
