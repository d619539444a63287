//! The thread's trace context, by the OpenTelemetry standard for out-of-process readers.
//!
//! Every thread has a record with the ids it works on, and the thread-local pointer `otel_thread_ctx_v1` that leads
//! to it: right behind the pointer, so that a reader who knows this gets both at once. Readers (a kernel probe in the thread's own context, or a profiler while the thread is stopped) resolve the
//! symbol in `.dynsym`, so the final binary must be linked with
//! `-Wl,--export-dynamic-symbol=otel_thread_ctx_v1`.
//!
//! Invariant: while `valid` is 1 the ids are whole. The pointer is set once per thread and never changes; only
//! `valid` is toggled. Nobody but the thread itself writes, and readers never run beside it, so compiler fences are
//! enough. Cost: a few stores, under 2 ns; no lock, no allocation, no system call.

use opentelemetry::trace::TraceContextExt;
use std::marker::PhantomData;
use std::sync::atomic::{Ordering, compiler_fence};

/// The ids that a thread works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// W3C trace id, in its written order.
    pub trace_id: [u8; 16],
    /// W3C span id, in its written order.
    pub span_id: [u8; 8],
    /// W3C trace flags.
    pub flags: u8,
}

impl TraceContext {
    /// The ids of the span in an OpenTelemetry context, if it has any.
    #[must_use]
    pub fn of(context: &opentelemetry::Context) -> Option<Self> {
        let span = context.span();
        let ids = span.span_context();
        ids.is_valid().then(|| Self {
            trace_id: ids.trace_id().to_bytes(),
            span_id: ids.span_id().to_bytes(),
            flags: ids.trace_flags().to_u8(),
        })
    }
}

/// What readers see, byte by byte: `trace_id` at 0, `span_id` at 16, `valid` at 24, `trace_flags` at 25,
/// `attrs_data_size` at 26. No attributes follow.
#[repr(C, align(8))]
struct Record {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    valid: u8,
    trace_flags: u8,
    attrs_data_size: u16,
}

const _: () = assert!(std::mem::offset_of!(Record, valid) == 24 && std::mem::offset_of!(Record, attrs_data_size) == 26);
// With the pointer: as many bytes as the symbol's section has.
const _: () = assert!(8 + size_of::<Record>() == 40);

/// What this thread publishes at this moment.
#[must_use]
pub fn current() -> Option<TraceContext> {
    // SAFETY: only this thread touches its record, and no reference to it outlives a function of this module. It is
    // there, zeroed at first, until the thread's static TLS block goes away.
    let record = unsafe { &*symbol::record() };
    (record.valid == 1).then_some(TraceContext {
        trace_id: record.trace_id,
        span_id: record.span_id,
        flags: record.trace_flags,
    })
}

/// Publishes `context` on this thread, or that there is none.
pub fn publish(context: Option<TraceContext>) {
    let record = symbol::pointed();
    // SAFETY: only this thread touches its record, and no reference to it outlives a function of this module.
    // The writes are volatile so that a probe that interrupts the thread between two of them sees them in order.
    unsafe {
        (&raw mut (*record).valid).write_volatile(0);
        let Some(context) = context else { return };
        compiler_fence(Ordering::SeqCst);
        (&raw mut (*record).trace_id).write_volatile(context.trace_id);
        (&raw mut (*record).span_id).write_volatile(context.span_id);
        (&raw mut (*record).trace_flags).write_volatile(context.flags);
        compiler_fence(Ordering::SeqCst);
        (&raw mut (*record).valid).write_volatile(1);
    }
}

/// Publishes these ids until the guard is dropped, which restores what was published before.
#[must_use = "the context is published only as long as the guard lives"]
pub fn enter(trace_id: [u8; 16], span_id: [u8; 8], flags: u8) -> Entered {
    let previous = current();
    publish(Some(TraceContext { trace_id, span_id, flags }));
    Entered { previous, _this_thread: PhantomData }
}

/// The same with what may be nothing. Stores nothing if that is published already.
#[must_use = "the context is published only as long as the guard lives"]
pub(crate) fn enter_or_clear(context: Option<TraceContext>) -> Option<Entered> {
    let previous = current();
    (previous != context).then(|| {
        publish(context);
        Entered { previous, _this_thread: PhantomData }
    })
}

/// Restores the previous context when it is dropped. Cannot leave its thread.
#[derive(Debug)]
pub struct Entered {
    previous: Option<TraceContext>,
    _this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        publish(self.previous);
    }
}

/// The exported symbol with the record behind it, and their address in this thread.
#[cfg(target_arch = "x86_64")]
mod symbol {
    pub(super) use super::behind::*;

    std::arch::global_asm!(
        ".pushsection .tbss.otel_thread_ctx_v1,\"awT\",@nobits",
        ".globl otel_thread_ctx_v1",
        ".type otel_thread_ctx_v1,@object",
        ".size otel_thread_ctx_v1,8",
        ".p2align 3",
        "otel_thread_ctx_v1:",
        ".zero 40",
        ".popsection",
    );

    /// Where this thread's pointer lies, by the TLS descriptor sequence (the linker makes a constant of it in an
    /// executable).
    pub(super) fn slot() -> *mut *mut u8 {
        let slot: *mut *mut u8;
        // SAFETY: the sequence the x86-64 TLS ABI prescribes; the descriptor call preserves every register but
        // rax and the flags. It needs an aligned stack, which asm! gives without the `nostack` option.
        unsafe {
            std::arch::asm!(
                "lea rax, [rip + otel_thread_ctx_v1@tlsdesc]",
                "call [rax + otel_thread_ctx_v1@tlscall]",
                "add rax, fs:0",
                out("rax") slot,
            );
        }
        slot
    }
}

#[cfg(target_arch = "aarch64")]
mod symbol {
    pub(super) use super::behind::*;

    std::arch::global_asm!(
        ".pushsection .tbss.otel_thread_ctx_v1,\"awT\",%nobits",
        ".globl otel_thread_ctx_v1",
        ".type otel_thread_ctx_v1,%object",
        ".size otel_thread_ctx_v1,8",
        ".p2align 3",
        "otel_thread_ctx_v1:",
        ".zero 40",
        ".popsection",
    );

    /// Where this thread's pointer lies, by the TLS descriptor sequence.
    pub(super) fn slot() -> *mut *mut u8 {
        let slot: *mut *mut u8;
        // SAFETY: the sequence the AArch64 TLS ABI prescribes; the descriptor call preserves every register but
        // x0, x1, x30 and the flags.
        unsafe {
            std::arch::asm!(
                "adrp x0, :tlsdesc:otel_thread_ctx_v1",
                "ldr x1, [x0, :tlsdesc_lo12:otel_thread_ctx_v1]",
                "add x0, x0, :tlsdesc_lo12:otel_thread_ctx_v1",
                ".tlsdesccall otel_thread_ctx_v1",
                "blr x1",
                "mrs x1, tpidr_el0",
                "add x0, x0, x1",
                out("x0") slot,
                out("x1") _,
                out("x30") _,
            );
        }
        slot
    }
}

/// The record that lies behind the pointer.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod behind {
    use super::{Record, symbol::slot};

    pub(super) fn record() -> *mut Record {
        slot().wrapping_add(1).cast()
    }

    /// The record, to which the pointer leads from now on.
    pub(super) fn pointed() -> *mut Record {
        let slot = slot();
        let record = slot.wrapping_add(1);
        // SAFETY: the slot is eight aligned bytes of this thread's own TLS, written by this thread alone.
        unsafe { slot.write_volatile(record.cast()) };
        record.cast()
    }
}

/// The standard names no access sequence for other architectures: nothing is published there, and it is said once.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod symbol {
    use super::Record;
    use std::cell::UnsafeCell;

    thread_local! {
        static RECORD: UnsafeCell<Record> = const {
            UnsafeCell::new(Record { trace_id: [0; 16], span_id: [0; 8], valid: 0, trace_flags: 0, attrs_data_size: 0 })
        };
    }

    pub(super) fn record() -> *mut Record {
        RECORD.with(UnsafeCell::get)
    }

    pub(super) fn pointed() -> *mut Record {
        static SAID: std::sync::Once = std::sync::Once::new();
        SAID.call_once(|| tracing::warn!(arch = std::env::consts::ARCH, "no thread context on this architecture"));
        record()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(byte: u8) -> TraceContext {
        TraceContext { trace_id: [byte; 16], span_id: [byte; 8], flags: 1 }
    }

    /// Reads as a probe does: thread pointer, offset of the symbol, pointer, 28 bytes of record.
    #[cfg(target_arch = "x86_64")]
    fn as_a_probe_reads() -> Option<[u8; 28]> {
        let (thread_pointer, offset): (usize, isize);
        // SAFETY: fs:0 holds the thread pointer by the x86-64 ABI; @gottpoff loads the symbol's offset from it.
        unsafe {
            std::arch::asm!("mov {}, fs:0", out(reg) thread_pointer, options(nostack, readonly));
            std::arch::asm!("mov {}, [rip + otel_thread_ctx_v1@gottpoff]", out(reg) offset, options(nostack, readonly));
        }
        let pointer = thread_pointer.wrapping_add_signed(offset) as *const *const [u8; 28];
        // SAFETY: the symbol's eight bytes in this thread's TLS hold null or the address of this thread's record.
        unsafe {
            let record = pointer.read_volatile();
            (!record.is_null()).then(|| record.read_volatile())
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_probe_reads_what_each_thread_published() {
        let threads: Vec<_> = (1..=8u8)
            .map(|byte| {
                std::thread::spawn(move || {
                    assert_eq!(as_a_probe_reads(), None, "a fresh thread points nowhere");
                    for round in 0..100u8 {
                        let outer = enter([byte; 16], [round; 8], 1);
                        let seen = as_a_probe_reads().expect("published");
                        assert_eq!((&seen[..16], &seen[16..24]), (&[byte; 16][..], &[round; 8][..]));
                        assert_eq!(seen[24..], [1, 1, 0, 0]);
                        {
                            let _inner = enter([byte ^ 0xff; 16], [7; 8], 0);
                            let seen = as_a_probe_reads().expect("published");
                            assert_eq!((seen[0], seen[16], seen[24], seen[25]), (byte ^ 0xff, 7, 1, 0));
                        }
                        assert_eq!(as_a_probe_reads().expect("published")[0], byte, "the outer context is back");
                        drop(outer);
                        assert_eq!(as_a_probe_reads().expect("points at the record")[24], 0, "invalid after the end");
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("the thread's assertions hold");
        }
    }

    #[test]
    fn guards_restore_in_order() {
        assert_eq!(current(), None);
        let outer = enter([1; 16], [1; 8], 1);
        let inner = enter([2; 16], [2; 8], 1);
        assert_eq!(current(), Some(context(2)));
        drop(inner);
        assert_eq!(current(), Some(context(1)));
        drop(outer);
        assert_eq!(current(), None);
    }
}
