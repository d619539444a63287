//! `tcp`: segments sent again on the targets' connections, with addresses and the trace that wrote the bytes.
//!
//! What: `tcp_retransmit_skb`, looked up against the stamp that the last send left on the socket.
//! Cost: one stamp per send of a target; nothing per segment; one look-up per retransmit of the machine.
//! Limits: only the last writer's bytes are named; older ones read as unknown (no guess). A retransmit
//! before the socket's first watched send is not seen.

mod user;

pub(super) use user::Tcp;
