//! Reads one chat body again and again: what it costs is the program's CPU time over the rounds. `outline` is what every request
//! through the router costs, `features` what one costs that is routed by what it needs, the outline included.
//!
//!     cargo build --release -p protocol --example features_cost
//!     time target/release/examples/features_cost KILOBYTES ROUNDS outline|features

use std::hint::black_box;

use protocol::features::Outline;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual| args.get(at).map_or(Ok(usual), |text| text.parse::<usize>());
    let (kilobytes, rounds) = (number(0, 32)?, number(1, 100_000)?);
    let counts = args.get(2).is_none_or(|what| what == "features");
    let line = "The quick brown fox jumps over the \\\"lazy\\\" dog, and says nothing of it.\\n";
    let text = line.repeat(kilobytes * 1024 / line.len());
    let body = format!(
        "{{\"model\":\"chat\",\"stream\":true,\"max_tokens\":64,\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
    );
    let mut read = 0;
    for _ in 0..rounds {
        let outline = Outline::of(black_box(body.as_bytes()));
        let (model, side_effects) = (outline.model(), outline.may_have_side_effects());
        black_box((model, outline.max_tokens(), outline.prompt(), side_effects));
        read += if counts { outline.features()?.text_bytes } else { 0 };
    }
    println!("{} bytes a body, {read} bytes of text read in {rounds} rounds", body.len());
    Ok(())
}
