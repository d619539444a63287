//! Addresses as people write them, from what the kernel keeps of a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const AF_INET6: u16 = 10;

/// IPv4 (also mapped into IPv6) and IPv6.
pub(in crate::probes) fn address(family: u16, bytes: &[u8; 16], port: u16) -> SocketAddr {
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
