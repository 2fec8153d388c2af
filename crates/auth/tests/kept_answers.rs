//! The memory that the kept answers of an application take, as the allocator counts it. Alone in its program, since the
//! allocator counts what all threads allocate.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use fanfare_auth::callback::metrics::CallbackMetrics;
use fanfare_auth::callback::request::CallbackRequest;
use fanfare_auth::callback::{Callback, CallbackSettings, Outcome};
use reqwest::header::{COOKIE, HeaderMap};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// `auth.callback.cache`, in bytes.
const CACHE: usize = 8 << 20;
/// Memory of the cache's own tables, and of the HTTP client, in bytes.
const REST: usize = 1 << 20;

/// Answers each request of a connection with as many patterns as an answer may have.
fn answer(mut socket: TcpStream) -> std::io::Result<()> {
    let patterns = vec![r#""a""#; 4080].join(",");
    let body = format!(r#"{{"user":"7","grants":{{"subscribe":[{patterns}]}}}}"#);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=300\r\n";
    let response = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    assert!(body.len() <= 16 * 1024, "{}", body.len());
    let mut read = Vec::new();
    let mut byte = [0];
    while socket.read(&mut byte)? > 0 {
        read.extend_from_slice(&byte);
        if read.ends_with(b"\r\n\r\n") {
            read.clear();
            socket.write_all(response.as_bytes())?;
        }
    }
    Ok(())
}

fn request(at: usize) -> CallbackRequest {
    let headers = HeaderMap::from_iter([(COOKIE, format!("sid={at}").parse().expect("a value"))]);
    CallbackRequest::new(&headers, &[COOKIE], "192.0.2.1", "192.0.2.1").expect("a cookie")
}

#[tokio::test]
async fn kept_answers_take_no_more_memory_than_their_setting_allows() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let _ = answer(socket.expect("a connection"));
        }
    });
    let settings = CallbackSettings {
        url,
        ca: None,
        secret: None,
        secret_file: None,
        timeout: Duration::from_secs(30),
        requests: 1,
        cache: CACHE as u64,
        max_age: Duration::from_mins(5),
        max_lifetime: Duration::from_hours(1),
    };
    let callback = Callback::new(settings, CallbackMetrics::default()).expect("a URL");
    // The connection and its buffers.
    assert!(matches!(callback.identify(&request(0)).await, Outcome::Allowed(_)));
    let region = Region::new(ALLOCATOR);
    let growth = || {
        let change = region.change();
        change.bytes_allocated.cast_signed() - change.bytes_deallocated.cast_signed()
    };
    let (mut most, mut kept) = (0, 0);
    for at in 1..=300 {
        assert!(matches!(callback.identify(&request(at)).await, Outcome::Allowed(_)));
        most = most.max(growth());
        kept = (1..=at).filter(|at| callback.keeps(&request(*at))).count();
    }
    println!("{kept} answers in {most} bytes");
    assert!(kept >= 40, "{kept} answers are kept");
    assert!(most <= (CACHE + REST).cast_signed(), "{most} bytes for {kept} answers");
}
