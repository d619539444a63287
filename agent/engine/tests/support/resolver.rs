//! Recordings of a service that asks for a name with each request: what its resolver makes of it.

use super::{
    PID, SECOND, Service,
    crowd::{CALM, Two, see},
};
use snowshed_engine::model::{DnsLook, Nanos, Observation, Resolver};

type Lines = Vec<(Nanos, Observation)>;

/// Two seconds of questions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) unreachable: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    /// What an answer takes, milliseconds.
    pub(crate) each: u64,
}

/// Both families of an address for each name, and four names of a search list that are not there before it.
pub(crate) const WELL: Asked = Asked { asked: 120, answered: 120, unreachable: 0, failed: 0, unknown: 96, each: 2 };

/// Two seconds after two seconds.
pub(crate) fn live(until: u64, mut two: impl FnMut(u64) -> (Two, Asked)) -> Lines {
    let mut service = Service::start();
    for second in (4..until).step_by(2) {
        service.at(second * SECOND);
        let (two, told) = two(second);
        see(&mut service, two);
        let at = service.now();
        let resolvers = vec![Resolver {
            address: "10.0.0.2".parse().unwrap(),
            asked: told.asked,
            answered: told.answered,
            unreachable: told.unreachable,
            failed: told.failed,
            unknown: told.unknown,
            answer_us: told.answered * told.each * 1_000,
        }];
        service.see(Observation::Dns(DnsLook { pid: PID, since: at - 2 * SECOND, until: at, resolvers }));
    }
    service.lines()
}

/// Requests that wait until the resolver library gives up.
pub(crate) const WAITING: Two = Two { own: (8, 5_000), others: (0, 8), pool: (0, 0), ..CALM };

/// From second 90 to 120 no question is answered.
pub(crate) fn dns_failure() -> Lines {
    live(180, |second| match second {
        90..120 => (WAITING, Asked { asked: 14, answered: 0, unknown: 0, ..WELL }),
        _ => (CALM, WELL),
    })
}

/// A search list whose names are not there; a resolver that is away for some seconds; one that fails at names that
/// nobody waits for.
pub(crate) fn healthy_names() -> Lines {
    live(240, |second| match second {
        60..64 => (CALM, Asked { answered: 60, ..WELL }),
        120..180 => (CALM, Asked { asked: 180, answered: 180, failed: 60, ..WELL }),
        _ => (CALM, WELL),
    })
}
