//! Who gets in: places for streams, memory for them, and each client's share.
//!
//! Invariant: what is admitted holds a [`Place`], which gives everything back when it is dropped; nothing waits here.
//! It is decided by the request's head, before any of its body is read. Cost: one short lock for a request.

use crate::pipeline::PipelineError;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The limits, as the flags say them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Streams at once.
    pub(crate) streams: u32,
    /// Bytes for all of them.
    pub(crate) memory: u64,
    /// The share of the streams that one client may have.
    pub(crate) client_share: f64,
}

impl Limits {
    /// Streams that one client may have: one at least.
    fn of_one_client(&self) -> u32 {
        ((f64::from(self.streams) * self.client_share).ceil() as u32).clamp(1, self.streams)
    }
}

/// Why a stream does not get in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// All places are taken.
    #[error("all {0} streams are taken (--max-streams)")]
    Streams(u32),
    /// There is not enough memory left.
    #[error("{needed} bytes are needed, and {left} of {of} are left (--memory-budget)")]
    Memory {
        /// For this stream.
        needed: u64,
        /// Not reserved.
        left: u64,
        /// The whole.
        of: u64,
    },
    /// The client has its share.
    #[error("this client has its {0} streams (--client-share)")]
    Client(u32),
}

impl Full {
    /// The limit's name, for programs.
    pub(crate) fn limit(&self) -> &'static str {
        match self {
            Self::Streams(_) => "max-streams",
            Self::Memory { .. } => "memory-budget",
            Self::Client(_) => "client-share",
        }
    }
}

/// Places for streams.
#[derive(Clone, Debug)]
pub(crate) struct Streams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
    given_back: Notify,
}

#[derive(Debug, Default)]
struct State {
    taken: u32,
    reserved: u64,
    /// Only clients that have places, so it is no longer than there are places.
    clients: HashMap<IpAddr, u32>,
}

impl Streams {
    /// Within these limits.
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { limits, state: Mutex::default(), given_back: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a stream of this client that needs so many bytes.
    ///
    /// # Errors
    /// Which limit it would be over.
    pub(crate) fn take(&self, client: IpAddr, bytes: u64) -> Result<Place, Full> {
        let Limits { streams, memory, .. } = self.0.limits;
        let client = network(client);
        let mut state = self.lock();
        if state.taken >= streams {
            return Err(Full::Streams(streams));
        }
        let share = self.0.limits.of_one_client();
        if state.clients.get(&client).is_some_and(|taken| *taken >= share) {
            return Err(Full::Client(share));
        }
        // A stream alone gets in whatever it needs: refused, it would be refused for ever.
        let left = memory.saturating_sub(state.reserved);
        if bytes > left && state.taken > 0 {
            return Err(Full::Memory { needed: bytes, left, of: memory });
        }
        state.taken += 1;
        state.reserved += bytes;
        *state.clients.entry(client).or_default() += 1;
        Ok(Place { streams: self.clone(), client, bytes: Mutex::new(bytes) })
    }

    /// How many there are.
    pub(crate) fn most(&self) -> u32 {
        self.0.limits.streams
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.lock().taken as usize
    }

    /// Bytes that are reserved.
    pub(crate) fn reserved(&self) -> u64 {
        self.lock().reserved
    }

    /// Waits until all have been given back.
    pub(crate) async fn all_given_back(&self) {
        loop {
            // Registered before the look, so that nothing is missed between the two.
            let mut given_back = std::pin::pin!(self.0.given_back.notified());
            given_back.as_mut().enable();
            if self.taken() == 0 {
                return;
            }
            given_back.await;
        }
    }
}

/// A stream's place and memory; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    streams: Streams,
    client: IpAddr,
    bytes: Mutex<u64>,
}

impl Place {
    /// The stream needs so many bytes in all. It never gives back before its end.
    ///
    /// # Errors
    /// That is more than there is now, or more than there ever will be.
    pub(crate) fn grow_to(&self, bytes: u64) -> Result<(), PipelineError> {
        let mut mine = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let more = bytes.saturating_sub(*mine);
        let mut state = self.streams.lock();
        let all = self.streams.0.limits.memory;
        if more > all.saturating_sub(state.reserved) {
            let alone = PipelineError::MoreThanAll { needed: bytes.div_ceil(1 << 20), of: all >> 20 };
            return Err(if bytes > all { alone } else { PipelineError::NoMemory });
        }
        state.reserved += more;
        *mine += more;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.streams.lock();
        state.taken = state.taken.saturating_sub(1);
        state.reserved = state.reserved.saturating_sub(bytes);
        if let Entry::Occupied(mut taken) = state.clients.entry(self.client) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
        drop(state);
        self.streams.0.given_back.notify_waiters();
    }
}

/// What counts as one client: an IPv4 address, or the 64 bits of an IPv6 address that a household or host is given.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(streams: u32, memory: u64, client_share: f64) -> Streams {
        Streams::new(Limits { streams, memory, client_share })
    }

    fn client(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn each_limit_is_named_and_given_back() {
        let full = streams(2, 1000, 1.0);
        let held = [full.take(client(1), 100).expect("room"), full.take(client(1), 100).expect("room")];
        assert_eq!(full.take(client(2), 1).map(drop), Err(Full::Streams(2)));
        assert_eq!((full.taken(), full.reserved()), (2, 200));
        drop(held);
        assert_eq!((full.taken(), full.reserved()), (0, 0));
        assert!(full.lock().clients.is_empty());

        let poor = streams(9, 1000, 1.0);
        let held = poor.take(client(1), 600).expect("room");
        assert_eq!(poor.take(client(1), 600).map(drop), Err(Full::Memory { needed: 600, left: 400, of: 1000 }));
        drop(held);
        assert!(poor.take(client(1), 2000).is_ok(), "alone it gets in: refused, it would be refused for ever");
    }

    #[test]
    fn one_client_has_its_share_and_leaves_the_rest_to_others() {
        let shared = streams(4, 1000, 0.5);
        let held = [shared.take(client(1), 1).expect("room"), shared.take(client(1), 1).expect("room")];
        assert_eq!(shared.take(client(1), 1).map(drop), Err(Full::Client(2)));
        assert!(shared.take(client(2), 1).is_ok());
        drop(held);
        assert!(shared.take(client(1), 1).is_ok());
        assert_eq!(streams(4, 1, 0.01).0.limits.of_one_client(), 1);
    }

    #[test]
    fn a_stream_grows_within_the_budget() {
        let streams = streams(4, 1000, 1.0);
        let (one, other) = (streams.take(client(1), 100).expect("room"), streams.take(client(2), 100).expect("room"));
        assert!(one.grow_to(800).is_ok());
        assert!(one.grow_to(300).is_ok(), "less than it has is no question");
        assert_eq!(streams.reserved(), 900);
        assert!(matches!(other.grow_to(300), Err(PipelineError::NoMemory)));
        assert!(other.grow_to(200).is_ok());
        drop(one);
        assert!(other.grow_to(1000).is_ok());
        assert!(
            matches!(other.grow_to(1001), Err(PipelineError::MoreThanAll { .. })),
            "nobody gets more than the whole"
        );
    }

    #[test]
    fn addresses_of_one_client() {
        let at = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
        assert_eq!(at("2001:db8:1:2:3::4"), at("2001:db8:1:2::9"));
        assert_ne!(at("2001:db8:1:2::"), at("2001:db8:1:3::"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
    }
}
