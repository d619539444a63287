//! To whom a socket is connected, as a number: the kernel makes it from the socket, the host from an address.
//!
//! Invariant: equal for equal peers, whether a connection is IPv4 or IPv4 mapped into IPv6. Different peers may share a
//! number: of IPv6 whole addresses are folded, and the short form has half the bits.

/// The first four bytes of an address that holds an IPv4 one: `::ffff:0:0/96`, second word, lower half.
const MAPPED: u64 = u32::from_ne_bytes([0, 0, 0xff, 0xff]) as u64;

/// Of IPv4; the address and the port as they lie in memory, in network order. 0 for port 0: nobody.
#[inline(always)]
pub const fn peer_v4(address: u32, port: u16) -> u64 {
    if port == 0 { 0 } else { address as u64 ^ (port as u64) << 48 }
}

/// Of IPv6, the same way.
#[inline(always)]
pub const fn peer_v6(address: [u64; 2], port: u16) -> u64 {
    if port == 0 {
        0
    } else if address[0] == 0 && address[1] as u32 as u64 == MAPPED {
        peer_v4((address[1] >> 32) as u32, port)
    } else {
        address[0] ^ address[1].rotate_left(13) ^ (port as u64) << 48
    }
}

/// Half of a peer's number, to which all of it contributes; 0 only for nobody.
#[inline(always)]
pub const fn short_peer(peer: u64) -> u32 {
    if peer == 0 {
        return 0;
    }
    // An odd number without a pattern (that of the golden ratio).
    let mixed = (peer ^ peer >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32 | 1
}

/// The short number of a peer by its address: what the kernel calls who is at the other end of a connection. Never 0,
/// but for port 0.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub fn peer_number(peer: std::net::SocketAddr) -> u32 {
    let port = u16::from_ne_bytes(peer.port().to_be_bytes());
    short_peer(match peer.ip() {
        std::net::IpAddr::V4(address) => peer_v4(u32::from_ne_bytes(address.octets()), port),
        std::net::IpAddr::V6(address) => {
            let words = address.to_bits().to_be_bytes();
            let half = |from: usize| u64::from_ne_bytes(std::array::from_fn(|byte| words[from + byte]));
            peer_v6([half(0), half(8)], port)
        }
    })
}

#[cfg(all(test, not(target_arch = "bpf")))]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_the_same_in_both_families_and_no_other() {
        let of = |text: &str| peer_number(text.parse().unwrap());
        assert_eq!(of("10.1.2.3:4000"), of("[::ffff:10.1.2.3]:4000"));
        let others = ["10.1.2.3:4001", "10.1.2.4:4000", "[::1]:4000", "[2001:db8::1]:4000", "[::10.1.2.3]:4000"];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(of(other), of("10.1.2.3:4000"), "{other}");
            assert!(others[..at].iter().all(|before| of(before) != of(other)), "{other}");
        }
        assert_eq!(of("10.1.2.3:0"), 0, "nobody");
    }

    #[test]
    fn neighbouring_ports_have_numbers_of_their_own() {
        let all: std::collections::HashSet<u32> =
            (1..=u16::MAX).map(|port| peer_number((std::net::Ipv4Addr::LOCALHOST, port).into())).collect();
        // Thrown at random some would meet too; the lowest bit is not used.
        assert!(all.len() > 65_000, "{}", all.len());
    }
}
