//! `tcp`: segments sent again on the targets' connections, with addresses and the traces that wrote the bytes.
//!
//! What: `tcp_retransmit_skb`, looked up against the stamps that sends left on the socket.
//! One that failed (since 6.16 the kernel tells of them too, and a packet still in the host's own queue fails
//! again and again) is not one: the counts are those of `RetransSegs`.
//! Cost: one stamp per send of a target; nothing per segment; one look-up per retransmit of the machine.
//! Limits: 256 writes in flight on a connection are told apart, and eight traces in one packet; beyond that
//! a retransmit is marked as incomplete. So it is where several threads wrote to one connection at once. Bytes
//! that the kernel adds (kTLS) look like another writer. A retransmit before the socket's first watched send
//! is not seen, and none of a connection that really runs over multipath TCP: its parts number their bytes by
//! themselves, and the kernel shows these programs no way from a part to the whole. A plain client of a
//! multipath listener (Go's default) is an ordinary connection, and is seen.

mod address;
mod user;
mod writers;

pub(super) use user::Tcp;
