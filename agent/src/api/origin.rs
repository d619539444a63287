//! Who may ask: the main listener is for this machine, and for pages that it served itself.
//!
//! Invariant: the request names the bound address or loopback as its host, and if a page sent it, that
//! page came from the same host. There are no CORS answers at all.

use crate::problem::Problem;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::net::{IpAddr, SocketAddr};

/// Refuses what comes in under a foreign name or from a foreign page.
pub(super) async fn check(State(bound): State<SocketAddr>, request: Request, next: Next) -> Response {
    match refuse(request.uri(), request.headers(), bound) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

fn refuse(uri: &Uri, headers: &HeaderMap, bound: SocketAddr) -> Option<Problem> {
    let forbidden = |detail: String| Some(Problem::new(StatusCode::FORBIDDEN, detail));
    let named = uri.authority().map(|authority| authority.as_str()).or_else(|| text(headers, header::HOST));
    let Some(named) = named else {
        return Some(Problem::new(StatusCode::BAD_REQUEST, "host: missing"));
    };
    if !is_local(named, bound) {
        return forbidden(format!("host {named:?}: this address answers only under its own name or loopback"));
    }
    match text(headers, header::ORIGIN) {
        Some(origin) if origin.strip_prefix("http://") != Some(named) => {
            forbidden(format!("origin {origin:?}: pages from elsewhere may not read this"))
        }
        _ => None,
    }
}

fn is_local(named: &str, bound: SocketAddr) -> bool {
    let host = match named.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => named,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address == bound.ip(),
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_names_are_answered() {
        let bound: SocketAddr = "127.0.0.1:9470".parse().expect("an address");
        for host in ["127.0.0.1:9470", "127.0.0.1", "localhost:9470", "LOCALHOST", "[::1]:9470", "[::1]"] {
            assert!(is_local(host, bound), "{host}");
        }
        for host in ["evil.example:9470", "127.0.0.1.evil.example", "10.0.0.1:9470", "", "localhost.evil:1", "::1:x"] {
            assert!(!is_local(host, bound), "{host}");
        }
    }

    #[test]
    fn a_page_from_elsewhere_is_refused() {
        let bound: SocketAddr = "127.0.0.1:9470".parse().expect("an address");
        let ask = |origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "127.0.0.1:9470".parse().expect("a value"));
            headers.insert(header::ORIGIN, origin.parse().expect("a value"));
            refuse(&Uri::from_static("/api/v1/status"), &headers, bound).is_none()
        };
        assert!(ask("http://127.0.0.1:9470"));
        assert!(!ask("http://evil.example"));
        assert!(!ask("http://127.0.0.1:3000"));
        assert!(!ask("null"));
    }
}
