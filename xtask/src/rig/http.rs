//! One HTTP/1.1 request from synchronous code.
//!
//! Cost: a connection and a small event loop for each; meant for a few requests a second.

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpStream;

/// The longest answer that is read.
const LONGEST: usize = 16 << 20;

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// `content-type`, empty if there is none.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is something else.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }
}

/// A GET with a bound of two seconds.
///
/// # Errors
/// See [`send`].
pub fn get(address: SocketAddr, path: &str) -> anyhow::Result<Reply> {
    send(address, Method::GET, path, &[], Bytes::new(), Duration::from_secs(2))
}

/// A request on a new connection, answered whole within `bound`.
///
/// # Errors
/// No connection, no answer in time, or an answer over 16 MiB.
pub fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
    bound: Duration,
) -> anyhow::Result<Reply> {
    let what = format!("{method} http://{address}{path}");
    let mut request = Request::builder().method(method).uri(path).header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).with_context(|| what.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().with_context(|| what.clone())?;
    let answer = runtime.block_on(async { tokio::time::timeout(bound, exchange(address, request)).await });
    answer.unwrap_or_else(|_| Err(anyhow!("no answer within {:.1} s", bound.as_secs_f64()))).with_context(|| what)
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(driver);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(|error| anyhow!(error))?;
    driver.abort();
    Ok(Reply { status, content_type, body: body.to_bytes() })
}
