//! How far the weights that are served are from the dequantised ones: log-probabilities over a fixed text.
//!
//! `cargo run --release -p model --example accuracy -- MODEL [--json]`

use std::error::Error;

use model::accuracy::{TEXT, compare, judge};
use model::{LoadOptions, ModelSource, WeightFormat, load};
use serde_json::json;
use serving::TokenId;

const BLOCK_SIZE: usize = 16;

/// Log-probability and likeliest token at each place.
type Judged = Vec<(f64, TokenId)>;

fn main() -> Result<(), Box<dyn Error>> {
    let source: ModelSource =
        std::env::args().nth(1).ok_or("give a model: PATH or tiny")?.parse()?;
    let (text, full) = judged(&source, WeightFormat::Full)?;
    let (_, served) = judged(&source, WeightFormat::Auto)?;
    let found = compare(&served, &full);
    if std::env::args().any(|arg| arg == "--json") {
        let logs: Vec<f64> = full.iter().map(|(log, _)| *log).collect();
        let best: Vec<TokenId> = full.iter().map(|(_, best)| *best).collect();
        let report = json!({ "tokens": found.tokens, "mean": found.mean, "max": found.max,
            "top_1": found.top_1, "perplexity": found.perplexity, "text": text, "full": logs,
            "full_best": best });
        println!("{report}");
        return Ok(());
    }
    println!("{} tokens, as served against the dequantised weights in f32", found.tokens);
    println!("log-probability, mean difference {:8.4}", found.mean);
    println!("log-probability, max difference  {:8.4}", found.max);
    println!("same likeliest token             {:8.1} %", 100.0 * found.top_1);
    println!(
        "perplexity, served and full      {:8.3} {:.3}",
        found.perplexity[0], found.perplexity[1]
    );
    Ok(())
}

fn judged(
    source: &ModelSource,
    weights: WeightFormat,
) -> Result<(Vec<TokenId>, Judged), Box<dyn Error>> {
    let model = load(source, &LoadOptions { weights, ..LoadOptions::default() })?;
    let text = model.codec.encode(TEXT, true)?;
    let blocks = serving::blocks_for(text.len(), BLOCK_SIZE);
    let judged = judge(&mut model.into_executor(blocks, BLOCK_SIZE)?, &text)?;
    Ok((text, judged))
}
