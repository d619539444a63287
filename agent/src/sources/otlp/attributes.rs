//! Attributes of a span, under their present names and the older ones that SDKs still send.
//!
//! Source: OpenTelemetry's semantic conventions 1.20 (old HTTP, network, database and RPC names) to 1.37.

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use snowshed_engine::model::CallKind;

/// The longest name, characters.
const NAME: usize = 256;

/// The attributes of one span or resource.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [KeyValue]);

impl<'a> Attributes<'a> {
    fn value(self, key: &str) -> Option<&'a Value> {
        self.0.iter().find(|pair| pair.key == key)?.value.as_ref()?.value.as_ref()
    }

    /// The first of these that is a text with something in it.
    pub(super) fn text(self, keys: &[&str]) -> Option<&'a str> {
        keys.iter().find_map(|key| match self.value(key)? {
            Value::StringValue(text) if !text.is_empty() => Some(text.as_str()),
            _ => None,
        })
    }

    /// The first of these that is a whole number, also where it is written as a text.
    pub(super) fn int(self, keys: &[&str]) -> Option<i64> {
        keys.iter().find_map(|key| match self.value(key)? {
            Value::IntValue(number) => Some(*number),
            Value::StringValue(text) => text.parse().ok(),
            _ => None,
        })
    }

    /// The HTTP method.
    pub(super) fn method(self) -> Option<&'a str> {
        self.text(&["http.request.method", "http.method"])
    }

    /// The HTTP status.
    pub(super) fn status(self) -> Option<u16> {
        let status = self.int(&["http.response.status_code", "http.status_code"]);
        status.and_then(|code| u16::try_from(code).ok()).filter(|code| (100..1000).contains(code))
    }

    /// The path of the request without its query, which may hold secrets.
    fn path(self) -> Option<&'a str> {
        let target = self.text(&["url.path", "http.target"])?;
        target.split(['?', '#']).next().filter(|path| !path.is_empty())
    }

    /// Method and route template; else the span's name, or the path where that name is the method alone.
    pub(super) fn route(self, name: &str) -> String {
        match (self.method(), self.text(&["http.route"])) {
            (Some(method), Some(route)) => short(&format!("{method} {route}")),
            (Some(method), None) if name.is_empty() || name == method || name == format!("HTTP {method}") => {
                short(&self.path().map_or_else(|| method.to_owned(), |path| format!("{method} {path}")))
            }
            _ => short(name),
        }
    }

    /// By which means a client span calls.
    pub(super) fn kind(self) -> CallKind {
        if self.text(DATABASE).is_some() {
            CallKind::Database
        } else if self.text(MESSAGING).is_some() {
            CallKind::Messaging
        } else if self.text(RPC).is_some() {
            CallKind::Rpc
        } else if self.method().is_some() || self.text(URL).is_some() {
            CallKind::Http
        } else {
            CallKind::Other
        }
    }

    /// Whom a client span calls: the name that it was given, else the system and the address.
    pub(super) fn peer(self, name: &str) -> String {
        if let Some(peer) = self.text(&["service.peer.name", "peer.service"]) {
            return short(peer);
        }
        let system = self.text(DATABASE).or_else(|| self.text(MESSAGING)).or_else(|| self.text(RPC));
        let place = self.address().or_else(|| {
            let names =
                ["messaging.destination.name", "messaging.destination", "rpc.service", "db.namespace", "db.name"];
            self.text(&names).map(str::to_owned)
        });
        match (system, place) {
            (Some(system), Some(place)) => short(&format!("{system} {place}")),
            (None, Some(place)) => short(&place),
            (Some(system), None) => short(system),
            (None, None) => short(name),
        }
    }

    fn address(self) -> Option<String> {
        let hosts = [
            "server.address",
            "net.peer.name",
            "network.peer.address",
            "net.sock.peer.addr",
            "net.peer.ip",
            "http.host",
        ];
        let Some(host) = self.text(&hosts) else { return self.text(URL).and_then(authority) };
        let port = self.int(&["server.port", "net.peer.port", "network.peer.port", "net.sock.peer.port"]);
        Some(match port.filter(|port| (1..65_536).contains(port)) {
            // An IPv6 address has colons of its own.
            Some(port) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        })
    }
}

const DATABASE: &[&str] = &["db.system.name", "db.system"];
const MESSAGING: &[&str] = &["messaging.system"];
const RPC: &[&str] = &["rpc.system.name", "rpc.system"];
const URL: &[&str] = &["url.full", "http.url"];

/// Host and port of a URL, without the name and password that may stand before them.
fn authority(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    (!host.is_empty()).then(|| host.to_owned())
}

/// A text as it is kept.
pub(super) fn short(text: &str) -> String {
    text.chars().take(NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::AnyValue;

    /// Names and values.
    type Told<'a> = &'a [(&'a str, &'a str)];

    fn pairs(all: Told<'_>) -> Vec<KeyValue> {
        let value = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
        all.iter()
            .map(|(key, text)| KeyValue { key: (*key).into(), value: value(text), ..KeyValue::default() })
            .collect()
    }

    #[test]
    fn old_and_new_names_say_the_same() {
        let cases: &[(Told<'_>, CallKind, &str)] = &[
            (
                &[("http.request.method", "GET"), ("server.address", "api"), ("server.port", "8080")],
                CallKind::Http,
                "api:8080",
            ),
            (
                &[("http.method", "GET"), ("net.peer.name", "api"), ("net.peer.port", "8080")],
                CallKind::Http,
                "api:8080",
            ),
            (
                &[("http.method", "GET"), ("http.url", "https://user:secret@api:8080/x?token=1")],
                CallKind::Http,
                "api:8080",
            ),
            (&[("url.full", "https://api/x"), ("network.peer.address", "10.0.0.9")], CallKind::Http, "10.0.0.9"),
            (
                &[("db.system", "redis"), ("net.peer.ip", "10.0.0.1"), ("net.peer.port", "6379")],
                CallKind::Database,
                "redis 10.0.0.1:6379",
            ),
            (&[("db.system.name", "postgresql"), ("db.namespace", "shop")], CallKind::Database, "postgresql shop"),
            (&[("db.system", "mysql"), ("db.name", "shop")], CallKind::Database, "mysql shop"),
            (&[("rpc.system", "grpc"), ("rpc.service", "pay.Pay")], CallKind::Rpc, "grpc pay.Pay"),
            (&[("rpc.system", "grpc"), ("server.address", "::1"), ("server.port", "9")], CallKind::Rpc, "grpc [::1]:9"),
            (
                &[("messaging.system", "kafka"), ("messaging.destination.name", "jobs")],
                CallKind::Messaging,
                "kafka jobs",
            ),
            (&[("peer.service", "billing"), ("db.system", "redis")], CallKind::Database, "billing"),
            (&[("server.address", "")], CallKind::Other, "a span"),
        ];
        for (told, kind, peer) in cases {
            let pairs = pairs(told);
            let attributes = Attributes(&pairs);
            assert_eq!((attributes.kind(), attributes.peer("a span")), (*kind, (*peer).to_owned()), "{told:?}");
        }
    }

    #[test]
    fn a_route_is_a_template_or_a_path_without_its_query() {
        let cases: &[(Told<'_>, &str, &str)] = &[
            (&[("http.method", "GET"), ("http.route", "/a/{id}")], "x", "GET /a/{id}"),
            (&[("http.request.method", "GET"), ("url.path", "/a/7")], "GET", "GET /a/7"),
            (&[("http.method", "GET"), ("http.target", "/a/7?token=secret")], "HTTP GET", "GET /a/7"),
            (&[("http.method", "GET"), ("http.target", "/a/7")], "handler", "handler"),
            (&[("http.method", "GET")], "", "GET"),
            (&[], "job", "job"),
        ];
        for (told, name, route) in cases {
            assert_eq!(Attributes(&pairs(told)).route(name), *route, "{told:?}");
        }
    }

    #[test]
    fn what_a_stranger_writes_is_cut_and_never_breaks_it() {
        let long = "x".repeat(100_000);
        for url in ["://", "a://@", "a://b@c@d:1/", &long, "http://[::1", "\u{0}"] {
            let pairs = pairs(&[("http.url", url), ("http.method", &long), ("http.route", &long)]);
            let attributes = Attributes(&pairs);
            assert!(attributes.peer(url).chars().count() <= NAME);
            assert!(attributes.route(url).chars().count() <= NAME);
        }
        assert_eq!(authority("a://b@c@d:1/").as_deref(), Some("d:1"));
    }
}
