//! An OpenTelemetry collector: OTLP over HTTP, protobuf (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A span as it was received.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned {
    /// The node, from the resource.
    pub node: String,
    /// `publish` or `fan-out`.
    pub name: String,
    /// The trace's id in hexadecimal.
    pub trace: String,
    /// The span's id.
    pub span: String,
    /// The parent's id.
    pub parent: String,
    /// Ids of the spans that are linked.
    pub links: Vec<String>,
    /// 4 of a producer, 5 of a consumer.
    pub kind: i32,
    /// 2 after an error.
    pub status: i32,
    /// Nanoseconds from the start to the end.
    pub nanos: u64,
    /// The attributes as text.
    pub attributes: Vec<(String, String)>,
}

impl Spanned {
    /// An attribute's text.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
    }
}

/// A collector on a loopback address. Ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Spanned>>>,
    task: JoinHandle<()>,
}

impl Collector {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let spans = Arc::<Mutex<Vec<Spanned>>>::default();
        let received = Arc::clone(&spans);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let received = Arc::clone(&received);
                // An exporter that goes away is no failure.
                tokio::spawn(async move { drop(serve(socket, &received).await) });
            }
        });
        Self { address, spans, task }
    }

    /// What `trace.endpoint` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans so far.
    pub fn spans(&self) -> Vec<Spanned> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: TcpStream, spans: &Mutex<Vec<Spanned>>) -> io::Result<()> {
    let mut socket = BufReader::new(socket);
    let malformed = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if socket.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        assert!(first.starts_with("POST /v1/traces HTTP/1.1"), "{first}");
        loop {
            let mut line = String::new();
            socket.read_line(&mut line).await?;
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => {
                    length = value.parse().map_err(|_| malformed("a length"))?;
                }
                Some(("content-type", kind)) => assert_eq!(kind, "application/x-protobuf"),
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await?;
        let request = ExportTraceServiceRequest::decode(&body[..]).map_err(|_| malformed("a message"))?;
        spans.lock().unwrap_or_else(PoisonError::into_inner).extend(read(request));
        socket
            .write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
            )
            .await?;
    }
}

fn read(request: ExportTraceServiceRequest) -> Vec<Spanned> {
    let mut spans = Vec::new();
    for of_node in request.resource_spans {
        let attributes = texts(&of_node.resource.unwrap_or_default().attributes);
        let node = attributes.iter().find(|(name, _)| name == "service.instance.id");
        let node = node.map(|(_, node)| node.clone()).unwrap_or_default();
        let found = of_node.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(found.map(|span| spanned(&node, &span)));
    }
    spans
}

fn spanned(node: &str, span: &Span) -> Spanned {
    Spanned {
        node: node.to_owned(),
        name: span.name.clone(),
        trace: hex(&span.trace_id),
        span: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        kind: span.kind,
        status: span.status.as_ref().map_or(0, |status| status.code),
        nanos: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
        attributes: texts(&span.attributes),
    }
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(&attribute.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
