//! Attributes of a span, under their present names and the older ones that SDKs still send.
//!
//! Source: OpenTelemetry's semantic conventions 1.20 (old HTTP, network, database and RPC names) to 1.37.

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use snowshed_engine::model::CallKind;

/// The longest name, characters.
const NAME: usize = 256;

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Int(i64),
    /// Of no use here.
    Other,
}

/// An attribute.
pub(super) type Pair<'a> = (&'a str, Value<'a>);

/// Attributes as the generated types hold them.
pub(super) fn pairs<'a>(all: &'a [KeyValue]) -> Vec<Pair<'a>> {
    let pair = |pair: &'a KeyValue| {
        let value = match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => Value::Text(text),
            Some(any_value::Value::IntValue(number)) => Value::Int(*number),
            _ => Value::Other,
        };
        (pair.key.as_str(), value)
    };
    all.iter().map(pair).collect()
}

/// The attributes of one span or resource.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes<'a>(pub(super) &'a [Pair<'a>]);

impl<'a> Attributes<'a> {
    fn value(self, key: &str) -> Option<Value<'a>> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }

    /// The first of these that is a text with something in it.
    pub(super) fn text(self, keys: &[&str]) -> Option<&'a str> {
        keys.iter().find_map(|key| match self.value(key)? {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        })
    }

    /// The first of these that is a whole number, also where it is written as a text.
    pub(super) fn int(self, keys: &[&str]) -> Option<i64> {
        keys.iter().find_map(|key| match self.value(key)? {
            Value::Int(number) => Some(number),
            Value::Text(text) => text.parse().ok(),
            Value::Other => None,
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
    let end = if text.len() <= NAME { None } else { text.char_indices().nth(NAME) };
    end.map_or(text, |(end, _)| &text[..end]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and values.
    type Told<'a> = &'a [(&'a str, &'a str)];

    fn pairs<'a>(all: &[(&'a str, &'a str)]) -> Vec<Pair<'a>> {
        all.iter().map(|(key, text)| (*key, Value::Text(text))).collect()
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
