//! The origin behind Pushpin: it answers every request by naming the channel that the path names.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Listens for as long as the program lives.
pub(in crate::table) fn start() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        // As many threads as Pushpin opens connections.
        for socket in listener.incoming().flatten() {
            thread::spawn(move || serve(socket));
        }
    });
    Ok(address)
}

fn serve(mut socket: TcpStream) {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match socket.read(&mut buffer) {
            Ok(length) if length > 0 => text.extend_from_slice(&buffer[..length]),
            _ => return,
        }
        while let Some(end) = memchr::memmem::find(&text, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&text[..end]).into_owned();
            text.drain(..end + 4);
            let path = head.split(' ').nth(1).unwrap_or_default();
            let channel = path.trim_start_matches('/');
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nGrip-Hold: stream\r\nGrip-Channel: {channel}\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            if socket.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}
