//! Stock libraries and decoders of Rust: `fanfare-stock-clients <name> <url>`.
//!
//! The libraries print one line of JSON for each message that they hand over, the decoders what they decode.

mod eventsource_client;
mod reqwest_decoder;
mod reqwest_eventsource;

use std::error::Error;

use serde_json::json;

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["eventsource-client", url] => eventsource_client::run(url).await,
        ["reqwest-eventsource", url] => reqwest_eventsource::run(url).await,
        ["reqwest", url] => reqwest_decoder::run(url).await,
        _ => Err("usage: fanfare-stock-clients <name> <url>".into()),
    }
}

fn show(kind: &str, id: Option<&str>, data: &str) {
    println!("{}", json!({"type": kind, "id": id, "data": data}));
}
