//! `dns`: the questions that a process asks resolvers for names, and what comes of them.
//!
//! What: sends and receives on sockets that are connected to port 53 over UDP: questions, answers, what reached nobody,
//! the code of the answer and how long it took, by process and resolver. Of a message nothing is read but the four bits of
//! an answer's code; no name leaves the process.
//! Cost: no hook of its own (those of `tcp` and `fd` pass such sockets on): a comparison per send and receive of a target;
//! per question and per answer two or three look-ups.
//! Limits: a resolver that is asked over an unconnected socket (musl), over TCP, TLS or HTTPS, or through a local service
//! (nscd, systemd-resolved's own interface) is not seen; its code only where the answer is taken with `read` or `recvfrom`,
//! as glibc, Go and c-ares do. An answer is held against the latest question of its socket, so of two that are asked at
//! once the first one's time is a little short. Needs the hooks of sends and receives (Linux 6.3).

mod user;

pub(super) use user::Dns;
