//! The programs in `tests/clients`, and how each is run.

use std::path::PathBuf;

/// A program with its arguments; the stream's URL comes behind them.
pub(crate) struct Entry {
    /// The name of the client, and of its user.
    pub(crate) name: &'static str,
    run: Run,
}

/// What runs it.
enum Run {
    Node(&'static [&'static str]),
    Python(&'static str),
    Php(&'static str),
    Go(&'static str),
    Java(&'static [&'static str]),
    Rust(&'static str),
    /// Of the system.
    Command(&'static [&'static str]),
}

/// Libraries, each as its own documentation says.
pub(crate) const LIBRARIES: [Entry; 22] = [
    Entry { name: "EventSource", run: Run::Node(&["chromium.js", "EventSource"]) },
    Entry { name: "sse.js", run: Run::Node(&["chromium.js", "sse.js"]) },
    Entry { name: "turbo", run: Run::Node(&["chromium.js", "turbo"]) },
    Entry { name: "htmx-2", run: Run::Node(&["chromium.js", "htmx-2"]) },
    Entry { name: "htmx-4", run: Run::Node(&["chromium.js", "htmx-4"]) },
    Entry { name: "eventsource-3", run: Run::Node(&["eventsource-3.js"]) },
    Entry { name: "eventsource-4", run: Run::Node(&["eventsource-4.js"]) },
    Entry { name: "eventsource-client", run: Run::Node(&["eventsource-client.js"]) },
    Entry { name: "eventsource-parser", run: Run::Node(&["eventsource-parser.js"]) },
    Entry { name: "event-source-polyfill", run: Run::Node(&["event-source-polyfill.js"]) },
    Entry { name: "fetch-event-source", run: Run::Node(&["fetch-event-source.js"]) },
    Entry { name: "reconnecting-eventsource", run: Run::Node(&["reconnecting-eventsource.js"]) },
    Entry { name: "sseclient-py", run: Run::Python("sseclient_requests.py") },
    Entry { name: "httpx-sse", run: Run::Python("httpx_stream.py") },
    Entry { name: "aiohttp-sse-client2", run: Run::Python("aiohttp_sse.py") },
    Entry { name: "r3labs-sse", run: Run::Go("r3labs") },
    Entry { name: "tmaxmax-go-sse", run: Run::Go("tmaxmax") },
    Entry { name: "launchdarkly-go", run: Run::Go("launchdarkly") },
    Entry { name: "okhttp-sse", run: Run::Java(&["OkHttpSse"]) },
    Entry { name: "okhttp-eventsource", run: Run::Java(&["LaunchDarkly"]) },
    Entry { name: "rust-eventsource-client", run: Run::Rust("eventsource-client") },
    Entry { name: "reqwest-eventsource", run: Run::Rust("reqwest-eventsource") },
];

/// Decoders of gzip: each prints what it has decoded.
pub(crate) const DECODERS: [Entry; 14] = [
    Entry { name: "go-net-http", run: Run::Go("net-http") },
    Entry { name: "go-reverse-proxy", run: Run::Go("reverse-proxy") },
    Entry { name: "java-http-client-bytes", run: Run::Java(&["DecodeHttpClient", "bytes"]) },
    // A BufferedReader over a GZIPInputStream waits for 8 KiB: docs/clients.md. This is the way out.
    Entry { name: "java-http-client-identity", run: Run::Java(&["DecodeHttpClient", "identity"]) },
    Entry { name: "okhttp", run: Run::Java(&["DecodeOkHttp"]) },
    Entry { name: "php-curl", run: Run::Php("decode_curl.php") },
    Entry { name: "requests", run: Run::Python("decode_requests.py") },
    Entry { name: "urllib3", run: Run::Python("decode_urllib3.py") },
    Entry { name: "httpx", run: Run::Python("decode_httpx.py") },
    Entry { name: "aiohttp", run: Run::Python("decode_aiohttp.py") },
    Entry { name: "node-fetch", run: Run::Node(&["decode-fetch.js"]) },
    Entry { name: "node-http-zlib", run: Run::Node(&["decode-http.js"]) },
    Entry { name: "reqwest", run: Run::Rust("reqwest") },
    Entry {
        name: "curl",
        run: Run::Command(&["curl", "--silent", "--show-error", "--compressed", "--no-buffer"]),
    },
];

impl Entry {
    /// Whether it asks for a compressed stream.
    pub(crate) fn is_compressed(&self) -> bool {
        !self.name.ends_with("-identity")
    }

    /// The command with a stream's URL.
    pub(crate) fn command(&self, url: &str) -> Vec<String> {
        let source = |folder: &str, file: &str| sources().join(folder).join(file).display().to_string();
        let built = |file: &str| built().join("clients").join(file).display().to_string();
        let (mut command, more): (_, &[&str]) = match &self.run {
            Run::Node(parts) => (vec!["node".into(), source("node", parts[0])], &parts[1..]),
            Run::Python(file) => (vec![built("python/bin/python"), source("python", file)], &[]),
            Run::Php(file) => (vec!["php".into(), source("php", file)], &[]),
            Run::Go(name) => (vec![built("go"), (*name).to_owned()], &[]),
            Run::Java(parts) => {
                let classes = format!("{}:{}/*", built("java/classes"), built("java/lib"));
                // Small and quick to start.
                let flags = ["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &classes];
                let java = std::iter::once("java").chain(flags).map(ToOwned::to_owned).collect();
                (java, parts)
            }
            Run::Rust(name) => (vec![rust(), (*name).to_owned()], &[]),
            Run::Command(parts) => (Vec::new(), parts),
        };
        command.extend(more.iter().map(|part| (*part).to_owned()));
        command.push(url.to_owned());
        command
    }
}

fn sources() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// The target directory: `target/<profile>/deps/<test>`.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a file");
    test.ancestors().nth(3).expect("tests lie in the target directory").to_owned()
}

fn rust() -> String {
    built().join("clients/rust/debug/fanfare-stock-clients").display().to_string()
}
