//! `tcp`: segments sent again on the targets' connections, with addresses and the traces that wrote the bytes; and
//! how connections and listeners get on, by peer.
//!
//! What: `tcp_retransmit_skb`, looked up against the stamps that sends left on the socket.
//! One that failed (since 6.16 the kernel tells of them too, and a packet still in the host's own queue fails
//! again and again) is not one: the counts are those of `RetransSegs`.
//! The rest is read, not hooked: every two seconds an iterator goes over the targets' sockets, and what a
//! connection counted last is read when it closes (`inet_sock_set_state`), so none is too short to count.
//! Cost: one stamp per send of a target; nothing per segment; one look-up per retransmit, reset and change of
//! state of the machine; a look goes over all descriptors of the targets.
//! Limits: 256 writes in flight on a connection are told apart, and eight traces in one packet; beyond that
//! a retransmit is marked as incomplete. So it is where several threads wrote to one connection at once, before the
//! socket's first watched send, and everywhere on kernels without `sock_send_length` (before 6.3). Bytes
//! that the kernel adds (kTLS) look like another writer. No retransmit is told of a connection that really runs
//! over multipath TCP: its parts number their bytes by themselves, and the kernel shows these programs no way from
//! a part to the whole. Of such a connection the first part's counters are read, the others' are not. A plain client
//! of a multipath listener (Go's default) is an ordinary connection, and is seen.
//! How long bytes lay unread is told to within a jiffy (4 ms here), and only while the hooks of `fd` are on, which see
//! the receives.
//! Zero windows of a connection are seen if they last until a look; shorter ones only in the counters of the
//! network namespace. A connect that is refused before a packet leaves (no route) changes no state and is not told.
//! A reset that answers a packet for which there is no connection has no process.

pub(super) mod address;
mod connections;
mod diag;
mod known;
mod namespace;
mod user;
mod writers;

pub(super) use user::Tcp;
