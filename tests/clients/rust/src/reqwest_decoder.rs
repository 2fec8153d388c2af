//! `reqwest` with the feature `gzip` asks for gzip by itself, and decodes.

use std::io::Write;

use futures_util::StreamExt;

use crate::Outcome;

pub(crate) async fn run(url: &str) -> Outcome {
    let mut parts = reqwest::get(url).await?.bytes_stream();
    let mut out = std::io::stdout();
    while let Some(part) = parts.next().await {
        out.write_all(&part?)?;
        out.flush()?;
    }
    Ok(())
}
