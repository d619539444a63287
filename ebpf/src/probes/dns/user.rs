//! Reading the table every two seconds, told as gains.

use crate::{
    host::kernel::{AttachError, Kernel},
    probes::{Look, Probe},
    wire::{Counter, RESOLVERS_KEPT, ResolverCount, ResolverKey},
};
use snowshed_engine::model::{DnsLook, Nanos, Observation, Pid, Resolver};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// The programs that see questions and answers.
const HOOKS: [&str; 2] = ["tcp_sent", "fd_received"];
const AF_INET6: u32 = 10;
/// With so many pairs in the kernel's table those that rest are given up.
const CROWDED: usize = RESOLVERS_KEPT as usize * 3 / 4;

#[derive(Default)]
pub(crate) struct Dns {
    before: BTreeMap<ResolverKey, ResolverCount>,
    looked: Nanos,
    /// Both hooks were on at the last look.
    heard: bool,
}

impl Probe for Dns {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn programs(&self) -> &'static [&'static str] {
        &[]
    }

    /// Other probes' programs see for it.
    fn needs_kernel(&self) -> bool {
        true
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (&[Counter::Questions], &[Counter::QuestionsLost])
    }

    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        let hooked = kernel.hooks(&HOOKS);
        match HOOKS.iter().find(|program| !hooked.iter().any(|(on, _)| on == *program)) {
            None => Ok(()),
            Some(program) => Err(kernel.needs(program)),
        }
    }

    fn fallback(&self) -> Option<&'static str> {
        None
    }

    fn sheds(&self) -> &'static [crate::session::Shed] {
        // It costs nothing that could be left out.
        &[]
    }

    fn period(&self) -> Option<Duration> {
        Some(Duration::from_secs(2))
    }

    fn sample(&mut self, look: &mut Look<'_>, out: &mut Vec<Observation>) {
        let Some(kernel) = look.kernel.as_deref_mut() else { return };
        // With one of them off, for the budget's sake, questions or answers are missing.
        let hears = kernel.hooks(&HOOKS).len() == HOOKS.len();
        let (whole, since) = (hears && self.heard, self.looked);
        (self.heard, self.looked) = (hears, look.now);
        let mut now = kernel.resolvers();
        let crowded = now.len() >= CROWDED;
        now.retain(|key, count| {
            // Nothing was asked since the last look, by who is gone; or by anybody, where room is needed.
            let idle = self.before.get(key) == Some(count);
            let goes = idle && (crowded || look.targets.inner(key.host_tgid).is_none());
            if goes {
                kernel.forget_resolver(key);
            }
            !goes
        });
        if whole {
            let mut told = BTreeMap::<Pid, Vec<Resolver>>::new();
            for (key, count) in &now {
                let gain = count.since(self.before.get(key).copied().unwrap_or_default());
                let Some(pid) = look.targets.inner(key.host_tgid).filter(|_| gain != ResolverCount::default()) else {
                    continue;
                };
                told.entry(pid).or_default().push(resolver(*key, gain));
            }
            let looks = told.into_iter().map(|(pid, resolvers)| DnsLook { pid, since, until: look.now, resolvers });
            out.extend(looks.map(Observation::Dns));
        }
        self.before = now;
    }
}

fn resolver(key: ResolverKey, gain: ResolverCount) -> Resolver {
    let bytes: [u8; 16] = std::array::from_fn(|at| key.address[at / 8].to_ne_bytes()[at % 8]);
    let address = if key.family == AF_INET6 {
        let address = Ipv6Addr::from(bytes);
        address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
    } else {
        IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
    };
    Resolver {
        address,
        asked: gain.asked,
        answered: gain.answered,
        unreachable: gain.unreachable,
        failed: gain.failed,
        unknown: gain.unknown,
        answer_us: gain.time / 1_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_lie_in_memory() {
        let of = |family, address| resolver(ResolverKey { host_tgid: 1, family, address }, ResolverCount::default());
        let v4 = u64::from(u32::from_ne_bytes([10, 0, 0, 2]));
        assert_eq!(of(2, [v4, 0]).address, "10.0.0.2".parse::<IpAddr>().unwrap());
        let half = |text: &str, at: usize| {
            let bytes = text.parse::<Ipv6Addr>().unwrap().octets();
            u64::from_ne_bytes(std::array::from_fn(|byte| bytes[at * 8 + byte]))
        };
        for (text, shown) in [("2001:db8::35", "2001:db8::35"), ("::ffff:10.0.0.2", "10.0.0.2")] {
            let one = of(AF_INET6, [half(text, 0), half(text, 1)]);
            assert_eq!(one.address, shown.parse::<IpAddr>().unwrap());
        }
    }
}
