//! One bounded GET.
//!
//! Invariant: at most [`LARGEST`] bytes are ever held of an answer and no longer than [`PATIENCE`] is waited for
//! it, however it drips; redirects are not followed, proxies not used.

use reqwest::{Client, Url, header, redirect::Policy};
use std::time::Duration;

/// The largest page that is read, bytes.
pub(super) const LARGEST: usize = 4 << 20;
/// From the first byte sent to the last one read.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client for loopback addresses.
pub(super) fn client() -> Result<Client, String> {
    let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(PATIENCE).pool_max_idle_per_host(1);
    client.build().map_err(|error| error.to_string())
}

/// A page.
pub(super) async fn get(client: &Client, url: Url) -> Result<String, String> {
    let wrong = |error: reqwest::Error| match error {
        error if error.is_timeout() => format!("no whole answer within {} s", PATIENCE.as_secs()),
        error if error.is_connect() => "it does not accept".to_owned(),
        error => error.without_url().to_string(),
    };
    let accept = "text/plain;version=0.0.4, text/plain;q=0.9, application/json;q=0.8";
    let mut response = client.get(url).header(header::ACCEPT, accept).send().await.map_err(wrong)?;
    if !response.status().is_success() {
        return Err(format!("answered {}", response.status()));
    }
    let mut page = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(wrong)? {
        if page.len() + piece.len() > LARGEST {
            return Err(format!("answered more than {LARGEST} bytes"));
        }
        page.extend_from_slice(&piece);
    }
    String::from_utf8(page).map_err(|_| "answered something else than text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    /// Answers one request with these bytes, again and again as long as they are taken if `endless`.
    async fn server(head: &'static str, body: &'static [u8], endless: bool) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let asked = stream.read(&mut [0; 4096]).await.expect("a request");
            assert!(asked > 0, "a client that asks nothing");
            stream.write_all(head.as_bytes()).await.ok();
            while stream.write_all(body).await.is_ok() && endless {}
        });
        format!("http://{address}/metrics").parse().expect("an address")
    }

    #[tokio::test]
    async fn an_endless_answer_a_wrong_one_and_a_redirect_end_at_once() {
        let client = client().expect("a client");
        let endless = server("HTTP/1.1 200 OK\r\n\r\n", &[b'#'; 65_536], true).await;
        assert!(get(&client, endless).await.is_err_and(|error| error.contains("more than")));
        let binary = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", &[0xff, 0xfe], false).await;
        assert!(get(&client, binary).await.is_err_and(|error| error.contains("text")));
        let away =
            server("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", b"", false)
                .await;
        assert!(get(&client, away).await.is_err_and(|error| error.contains("302")));
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url: Url = format!("http://{}/", silent.local_addr().expect("bound")).parse().expect("an address");
        assert!(get(&client, url).await.is_err_and(|error| error.contains("within 2 s")));
        let good = server("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"a 1\n", false).await;
        assert_eq!(get(&client, good).await.as_deref(), Ok("a 1\n"));
    }
}
