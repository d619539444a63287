//! The codec threads: started when they are needed, used again, ended when they idle.
//!
//! Invariant: a job finds its thread as if it were new. What a predecessor published of its trace is gone, a panic of
//! it ends neither the thread nor the pool, and nothing of a job outlives it here: what it owns it drops before the
//! thread takes the next. Cost: a hand-over under one lock, instead of a thread's birth and death.
//!
//! The threads run at a lower priority than the event loop, so that it answers however busy they are.

use super::memory;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread waits for its next job before it ends.
const IDLE: Duration = Duration::from_secs(2);
/// How long all must have been idle before free memory is given back to the kernel.
const SETTLED: Duration = Duration::from_millis(200);
/// Stack of a thread: what x264 and the filters need, several times over.
const STACK: usize = 2 << 20;
/// Their niceness, above that of the process.
const NICER: libc::c_int = 5;
/// Their name, which tools outside look for; the kernel keeps 15 bytes.
const NAME: &str = "transcode";

type Job = Box<dyn FnOnce() + Send>;

/// Threads for streams, at most so many.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// At most one for each place of the service: a stream's place outlives its job.
    waiting: VecDeque<Job>,
    threads: usize,
    busy: usize,
    /// Something ran since memory was last given back.
    used: bool,
}

impl Pool {
    /// So many threads at most.
    pub(crate) fn new(most: u32) -> Self {
        let state = Mutex::new(State::default());
        Self(Arc::new(Shared { most: most as usize, state, changed: Condvar::new() }))
    }

    /// Runs a job on an idle thread or a new one; when all are busy, on the first that ends.
    ///
    /// # Errors
    /// No thread could be started, and none is there.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.0.lock();
        let idle = state.threads - state.busy;
        if state.waiting.len() >= idle && state.threads < self.0.most {
            let shared = self.0.clone();
            let started =
                std::thread::Builder::new().name(NAME.into()).stack_size(STACK).spawn(move || shared.work()).map(drop);
            match started {
                Ok(()) => state.threads += 1,
                // One that is there will come to it.
                Err(error) if state.threads > 0 => tracing::warn!(%error, threads = state.threads, "no more threads"),
                Err(error) => return Err(error),
            }
        }
        state.waiting.push_back(Box::new(job));
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Threads, and how many of them work.
    pub(super) fn threads(&self) -> (usize, usize) {
        let state = self.0.lock();
        (state.threads, state.busy)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn work(&self) {
        be_nicer();
        while let Some(job) = self.next() {
            // The hook has told about the panic; the stream's owner is dropped by the unwinding.
            catch_unwind(AssertUnwindSafe(job)).unwrap_or_default();
            snowshed_guard::context::publish(None);
            self.lock().busy -= 1;
        }
    }

    /// The next job; `None` if this thread is to end.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        let mut waited = Duration::ZERO;
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.busy += 1;
                state.used = true;
                return Some(job);
            }
            if waited >= IDLE {
                state.threads -= 1;
                return None;
            }
            let step = if state.used { SETTLED } else { IDLE - waited };
            let timeout;
            (state, timeout) = self.changed.wait_timeout(state, step).unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                waited += step;
                if state.used && state.busy == 0 {
                    state.used = false;
                    drop(state);
                    memory::trim();
                    state = self.lock();
                }
            }
        }
    }
}

/// Lowers this thread's priority; where that is refused, it goes on as it is.
fn be_nicer() {
    // SAFETY: these calls have no precondition; on Linux the id of a thread names that thread alone.
    unsafe {
        let this = libc::gettid().unsigned_abs();
        let now = libc::getpriority(libc::PRIO_PROCESS, this);
        libc::setpriority(libc::PRIO_PROCESS, this, now + NICER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snowshed_guard::context;
    use std::sync::mpsc::sync_channel;
    use std::thread::ThreadId;
    use std::time::Instant;

    fn on(pool: &Pool, job: impl FnOnce() + Send + 'static) -> ThreadId {
        let (ran, told) = sync_channel(1);
        pool.run(move || {
            ran.send(std::thread::current().id()).expect("somebody waits");
            job();
        })
        .expect("a thread");
        told.recv_timeout(Duration::from_secs(10)).expect("it runs")
    }

    fn settles(what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_thread_is_used_again_and_carries_nothing_over() {
        let pool = Pool::new(4);
        let first = on(&pool, || {
            // Neither given back: the worst that a job can do.
            context::publish(Some(context::TraceContext { trace_id: [1; 16], span_id: [1; 8], flags: 1 }));
            std::panic::resume_unwind(Box::new("a codec that dies"));
        });
        settles("the first job ends", || pool.threads() == (1, 0));
        let (seen, told) = sync_channel(1);
        let second = on(&pool, move || seen.send(context::current()).expect("somebody waits"));
        assert_eq!(first, second, "the same thread");
        assert_eq!(told.recv().expect("it ran"), None, "a new job publishes nothing of its predecessor");
    }

    #[test]
    fn there_are_as_many_threads_as_work_and_never_more_than_allowed() {
        let pool = Pool::new(2);
        let (release, gate) = sync_channel::<()>(3);
        let gate = Arc::new(Mutex::new(gate));
        let (ended, ends) = sync_channel(3);
        for _ in 0..3 {
            let (gate, ended) = (gate.clone(), ended.clone());
            pool.run(move || {
                gate.lock().expect("not poisoned").recv().expect("released");
                ended.send(()).expect("somebody waits");
            })
            .expect("a thread");
        }
        settles("two work", || pool.threads() == (2, 2));
        for _ in 0..3 {
            release.send(()).expect("open");
            ends.recv_timeout(Duration::from_secs(10)).expect("each ends, the third on a thread of the others");
        }
        settles("idle threads end", || pool.threads() == (0, 0));
    }

    #[test]
    fn threads_have_their_name_and_a_lower_priority() {
        // SAFETY: no precondition.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, libc::gettid().unsigned_abs()) };
        let mine = nice();
        let (seen, told) = sync_channel(1);
        on(&Pool::new(1), move || {
            let comm = std::fs::read_to_string("/proc/thread-self/comm").expect("its name");
            seen.send((comm, nice())).expect("somebody waits");
        });
        assert_eq!(told.recv().expect("it ran"), ("transcode\n".to_owned(), (mine + NICER).min(19)));
    }
}
