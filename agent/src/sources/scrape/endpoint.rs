//! An address that may be asked, as the configuration names it.
//!
//! Invariant: loopback by number (or `localhost`, which is taken for 127.0.0.1 and never looked up), plain HTTP,
//! no credentials. What kind of page it is follows from the path.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Prometheus' text format.
    Exposition,
    /// Go's `/debug/vars`.
    Expvar,
    /// Go's `/debug/pprof/goroutine`.
    Goroutines,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    told: String,
    pub(super) url: reqwest::Url,
    pub(super) address: SocketAddr,
    pub(super) kind: Kind,
}

impl Endpoint {
    /// The address with Go's `debug` parameter.
    pub(super) fn debug(&self, level: u8) -> reqwest::Url {
        let mut url = self.url.clone();
        url.set_query(Some(&format!("debug={level}")));
        url
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut url: reqwest::Url = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
        if url.scheme() != "http" || !url.username().is_empty() || url.password().is_some() {
            return Err(format!("{text:?}: only plain http without a password is spoken"));
        }
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let ip = if host == "localhost" { Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { host.parse::<IpAddr>() };
        let ip = ip.ok().filter(IpAddr::is_loopback);
        let ip = ip.ok_or_else(|| format!("{text:?}: only a target's own loopback address is asked"))?;
        let address = SocketAddr::new(ip, url.port_or_known_default().unwrap_or(80));
        url.set_ip_host(ip).map_err(|()| format!("{text:?}: not an address"))?;
        let kind = match url.path().trim_end_matches('/') {
            path if path.ends_with("/debug/pprof/goroutine") => Kind::Goroutines,
            path if path.ends_with("/debug/vars") => Kind::Expvar,
            _ => Kind::Exposition,
        };
        Ok(Self { told: text.to_owned(), url, address, kind })
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.told)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_follows_from_the_path() {
        let of = |text: &str| text.parse::<Endpoint>().map(|found| (found.address.to_string(), found.kind));
        assert_eq!(of("http://localhost:8080/metrics"), Ok(("127.0.0.1:8080".into(), Kind::Exposition)));
        assert_eq!(of("http://[::1]/x/debug/vars"), Ok(("[::1]:80".into(), Kind::Expvar)));
        assert_eq!(
            of("http://127.0.0.2:6060/debug/pprof/goroutine?debug=1").map(|found| found.1),
            Ok(Kind::Goroutines)
        );
        let url = "http://localhost:6060/debug/pprof/goroutine".parse::<Endpoint>().expect("fits").debug(2);
        assert_eq!(url.as_str(), "http://127.0.0.1:6060/debug/pprof/goroutine?debug=2");
    }

    #[test]
    fn nothing_but_loopback_is_asked() {
        for text in [
            "http://10.0.0.1/metrics",
            "http://example.org/metrics",
            "http://localhost.example.org/",
            "https://127.0.0.1/metrics",
            "http://me:secret@127.0.0.1/",
            "file:///etc/passwd",
            "metrics",
            "",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
