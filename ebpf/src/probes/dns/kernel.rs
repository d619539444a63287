//! Questions on their way out and answers on their way in, seen by the hooks of sends and receives, which `tcp` and `fd`
//! have: a hook of its own would cost every send and every receive of the machine.

use crate::{
    kernel::{Watched, count, field, load, offset, stack, storage::SocketStorage},
    wire::{Counter, RESOLVERS_KEPT, ResolverCount, ResolverKey},
};
use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, bpf_probe_read_user},
    macros::map,
    maps::PerCpuHashMap,
};
use core::ffi::c_void;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_UDP: u16 = 17;
/// The resolvers' port, network order.
const PORT: u16 = 53_u16.to_be();
/// A question's header, and an answer's.
const HEADER: i32 = 12;
/// What a send or a receive returns where nobody is at the other end: no route, no host, nobody listens.
const UNREACHABLE: [i32; 3] = [-101, -113, -111];
/// Calls whose second argument is where the bytes went, x86-64: `read` and `recvfrom`.
const INTO: [u64; 2] = [0, 45];
/// Codes of answers.
const NO_ERROR: u8 = 0;
const NO_SUCH_NAME: u8 = 3;

/// Not one that evicts by itself: with many processors such a table gives up entries that are in use long before it is full.
/// The host makes room.
#[map]
static RESOLVERS: PerCpuHashMap<ResolverKey, ResolverCount> = PerCpuHashMap::with_max_entries(RESOLVERS_KEPT, 0);

/// When a socket was last asked over.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
pub static QUESTIONS: SocketStorage<u64> = SocketStorage::new();

/// Whether a send or a receive ended because there is nobody at the other end.
#[inline(always)]
pub fn is_unreachable(result: i32) -> bool {
    UNREACHABLE[0] == result || UNREACHABLE[1] == result || UNREACHABLE[2] == result
}

/// Whether a socket is connected to a resolver.
///
/// # Safety
/// `sk` must be a pointer that the verifier trusts.
#[inline(always)]
pub unsafe fn is_asked(sk: *const c_void) -> bool {
    // SAFETY: the caller's promise.
    unsafe { load::<u16>(sk, offset!(sk_dport)) == PORT && load::<u16>(sk, offset!(sk_protocol)) == IPPROTO_UDP }
}

/// A question was sent, or could not be.
///
/// # Safety
/// `sk` must be a pointer that the verifier trusts, of a socket that [`is_asked`].
#[inline(always)]
pub unsafe fn asked(sk: *mut c_void, thread: Watched, result: i32) {
    count(Counter::Questions);
    // SAFETY: the caller's promise; no arguments.
    unsafe {
        with(sk, thread, |count| {
            count.asked += 1;
            count.unreachable += u64::from(result < 0);
        });
        if let Some(at) = QUESTIONS.get(sk, true) {
            *at = bpf_ktime_get_ns();
        }
    }
}

/// An answer came, or word that nobody will answer.
///
/// # Safety
/// As for [`asked`].
#[inline(always)]
pub unsafe fn answered(sk: *mut c_void, thread: Watched, result: i32) {
    // SAFETY: the caller's promise; typed registers; the helper checks the user address.
    unsafe {
        let registers = stack::registers();
        let (call, into): (u64, u64) = (load(registers, offset!(regs_orig_ax)), load(registers, offset!(regs_si)));
        let mut code = NO_ERROR;
        if result >= HEADER && (call == INTO[0] || call == INTO[1]) {
            // Of the header, not of what was asked for: the last four bits are the code.
            code = bpf_probe_read_user((into + 3) as *const u8).unwrap_or(NO_ERROR) & 0xf;
        }
        let took = QUESTIONS.get(sk, false).map_or(0, |at| bpf_ktime_get_ns().saturating_sub(*at));
        with(sk, thread, |count| {
            if result < 0 {
                count.unreachable += 1;
                return;
            }
            count.answered += 1;
            count.time += took;
            count.unknown += u64::from(code == NO_SUCH_NAME);
            count.failed += u64::from(code != NO_ERROR && code != NO_SUCH_NAME);
        });
    }
}

/// The count of this process and this resolver.
#[inline(always)]
unsafe fn with(sk: *const c_void, thread: Watched, change: impl FnOnce(&mut ResolverCount)) {
    // SAFETY: the caller's promise; a count is this CPU's own, and programs do not migrate.
    unsafe {
        let family: u16 = load(sk, offset!(sk_family));
        let address = match family {
            AF_INET6 => field!(sk, sk_v6_daddr),
            AF_INET => [u64::from(load::<u32>(sk, offset!(sk_daddr))), 0],
            _ => return,
        };
        let key = ResolverKey { host_tgid: thread.tgid, family: family.into(), address };
        if RESOLVERS.get_ptr(&key).is_none() && RESOLVERS.insert(&key, &ResolverCount::default(), 0).is_err() {
            count(Counter::QuestionsLost);
            return;
        }
        if let Some(count) = RESOLVERS.get_ptr_mut(&key) {
            change(&mut *count);
        }
    }
}
