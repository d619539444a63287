//! `tasks`: threads by origin, the locks that they wait for, and how they get on with processor and disk.
//!
//! What: looks at every thread through `iter.s/task`, four a second, twenty a second for three seconds after a
//! look that showed somebody waiting for a lock. Where a thread was made is noted by the hook that follows forks.
//! Cost: no hook of its own, so unwatched processes pay nothing and a watched one nothing for a futex call; one
//! record per thread and look; task storage and perhaps a copied stack for a new thread.
//! Limits: locks are sampled. Time waited is an unbiased estimate; waits shorter than a look are found only by
//! their number, and counts and longest waits are lower bounds (a goroutine that runs 256 times between two looks and waits
//! again at the same place counts as waiting on). So are writes that nobody reads (`writers`). See `waiters` for what
//! counts as a lock, and what cannot be told from resting.

mod disk;
mod goroutines;
mod groups;
mod locks;
mod throttle;
mod user;
mod waiters;
mod waits;
mod writers;

pub(super) use user::Tasks;
