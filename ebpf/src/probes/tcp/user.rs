//! Attaching, and turning ring events into observations.

use crate::{
    host::{
        kernel::{AttachError, Kernel},
        targets::Targets,
    },
    probes::Probe,
    wire::{Counter, EVENT_RETRANSMIT, Event},
};
use snowshed_engine::model::{Join, Observation, Retransmit, TraceId};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

const AF_INET6: u16 = 10;

pub(crate) struct Tcp;

impl Probe for Tcp {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["tcp_sent", "tcp_retransmitted"]
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (&[Counter::Retransmits], &[Counter::RetransmitsLost])
    }

    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        kernel.tracepoint("tcp_sent", "sock_send_length")?;
        kernel.tracepoint("tcp_retransmitted", "tcp_retransmit_skb")
    }

    fn fallback(&self) -> Option<&'static str> {
        None
    }

    fn period(&self) -> Option<Duration> {
        None
    }

    fn event(&mut self, event: &Event, targets: &Targets, out: &mut Vec<Observation>) {
        if event.kind != EVENT_RETRANSMIT {
            return;
        }
        let [high, low] = event.context.trace.map(u64::to_ne_bytes);
        let trace = TraceId::from_bytes(&[high, low].concat());
        out.push(Observation::Retransmit(Retransmit {
            pid: targets.inner(event.host_tgid),
            local: address(event.family, &event.local, event.ports[0]),
            peer: address(event.family, &event.peer, event.ports[1]),
            at: event.at,
            join: if trace.is_some() { Join::Socket } else { Join::None },
            trace,
            ambiguity: event.ambiguity,
        }));
    }
}

/// IPv4 (also mapped into IPv6) and IPv6.
fn address(family: u16, bytes: &[u8; 16], port: u16) -> SocketAddr {
    let ip = if family == AF_INET6 {
        IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical()
    } else {
        IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_people_write_them() {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(address(2, &bytes, 80).to_string(), "127.0.0.1:80");
        let mapped = Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped().octets();
        assert_eq!(address(10, &mapped, 443).to_string(), "10.0.0.2:443");
        assert_eq!(address(10, &Ipv6Addr::LOCALHOST.octets(), 1).to_string(), "[::1]:1");
    }
}
