//! Connections of those who ask how the server is: load balancers, orchestrators, Prometheus.

use std::io;

use tokio::net::TcpStream;

/// How a request of a probe begins.
const PROBES: [&[u8]; 4] = [b"GET /ready", b"GET /health", b"GET /metrics", b"HEAD /"];

/// Waits until a client sends something, and tells whether it asks how the server is. Nothing is taken from the stream.
///
/// A client that sends the first ten bytes one by one is not taken for one; it is answered all the same.
///
/// # Errors
/// When the connection breaks off.
pub(super) async fn is_probe(stream: &TcpStream) -> io::Result<bool> {
    let mut bytes = [0; 16];
    let length = stream.peek(&mut bytes).await?;
    let begun = bytes.get(..length).unwrap_or_default();
    Ok(PROBES.iter().any(|probe| begun.starts_with(probe)))
}
