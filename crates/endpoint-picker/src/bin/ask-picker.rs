//! Asks an endpoint picker, as Envoy does, where requests should go: `ask-picker HOST:PORT COUNT`.
//!
//! One line of standard output for each request: `picked ADDRESS…`, `refused STATUS` or `broken WHY`. Where nobody answers it says so on
//! standard error and fails.

use std::process::ExitCode;

use endpoint_picker::{Answer, ask};
use tonic::transport::Channel;

/// Requests of one call.
const MOST: usize = 10_000;
/// What is asked.
const BODY: &[u8] = br#"{"model":"m","prompt":"Tell me about rivers"}"#;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = words.get(1).and_then(|count| count.parse().ok()).filter(|count| *count <= MOST);
    let (Some(count), [address, _]) = (count, words.as_slice()) else {
        eprintln!("usage: ask-picker HOST:PORT COUNT, at most {MOST}");
        return ExitCode::from(2);
    };
    match run(address, count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
        for _ in 0..count {
            match ask(&channel, BODY).await? {
                Answer::Picked(endpoints) => println!("picked {}", endpoints.join(" ")),
                Answer::Refused(status) => println!("refused {status}"),
                Answer::Broken(why) => println!("broken {}", why.replace('\n', " ")),
            }
        }
        Ok(())
    })
}
