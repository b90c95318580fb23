//! Prints what a publisher of KV events tells, a line each: `cargo run -p kv-events --example follow -- 127.0.0.1:5557 [TOPIC]`.

use std::net::SocketAddr;

use kv_events::{Settings, Subscriber, Update};
use routing::KvEvent;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address: SocketAddr = args.next().ok_or("say where: ADDRESS:PORT [TOPIC]")?.parse()?;
    let topic = args.next().unwrap_or_default();
    let mut subscriber = Subscriber::new(address, Settings { topic, ..Settings::default() });
    loop {
        match subscriber.next().await {
            Update::Joined => println!("joined"),
            Update::Lost(loss) => println!("lost: {loss}"),
            Update::Away(error) => println!("away: {error}"),
            Update::Unreadable(why) => println!("unreadable: {why}"),
            Update::Batch(batch) => {
                for told in batch.events {
                    let plain = if told.plain { "" } else { " (not plain)" };
                    println!("{}{plain}", line(&told.event));
                }
                (0..batch.unknown).for_each(|_| println!("unknown event"));
            }
        }
    }
}

fn line(event: &KvEvent) -> String {
    match event {
        KvEvent::Stored { blocks, parent, tokens, block_size } => format!(
            "stored {} x {block_size}, {} tokens, first {:016x}, behind {}",
            blocks.len(),
            tokens.len(),
            blocks.first().map_or(0, |block| block.0),
            parent.map_or_else(|| "nothing".to_owned(), |parent| format!("{:016x}", parent.0)),
        ),
        KvEvent::Removed { blocks } => format!("removed {}", blocks.len()),
        KvEvent::Cleared => "cleared".to_owned(),
    }
}
