//! The live kernel: one thread owns the session, polls it, and answers questions between two polls.
//!
//! Invariant: the session never leaves its thread, and the thread never blocks on anybody: observations
//! go to a bounded queue, answers to watch channels. Symbols are resolved a few at a time, so that a
//! large incident does not hold up the events. Cost: one thread, woken when something is due or told.

use super::Intake;
use crate::render::Sites;
use snowshed_ebpf::{
    Budget, ContextStatus, Frame, OpenFd, Options, Overhead, ProbeStatus, Session, SessionError, Waker,
};
use snowshed_engine::model::{Ask, Pid, SiteId};
use std::{
    collections::VecDeque,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};

/// How long one poll waits; commands end it.
const POLL: Duration = Duration::from_secs(1);
/// The same while sites wait to be resolved.
const POLL_RESOLVING: Duration = Duration::from_millis(100);
/// How often status and targets are published.
const PUBLISH: Duration = Duration::from_secs(1);
/// Commands waiting for the thread.
const COMMANDS: usize = 256;
/// Sites resolved between two polls.
const RESOLVE_BATCH: usize = 16;
/// Sites waiting to be resolved.
const RESOLVE_QUEUE: usize = 1024;
/// Sites whose frames are kept; the oldest goes first.
const SITES: usize = 4096;

/// What the session is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Watch a process; the answer goes to the sender.
    Add(Pid, oneshot::Sender<Result<(), SessionError>>),
    /// Answer a question of the engine.
    Ask(Ask),
    /// Find out the frames of these sites.
    Resolve(Vec<SiteId>),
    /// These sites have names that a target told itself.
    Name(Vec<(SiteId, Vec<Frame>)>),
    /// Look at the descriptors of a process above a number, so many at most; the answer goes to the sender.
    Open(Pid, Option<i32>, usize, oneshot::Sender<Option<Opened>>),
    /// Detach everything and end.
    Stop,
}

/// Some of a process's descriptors by number, and the number after which there are more.
pub(crate) type Opened = (Vec<OpenFd>, Option<i32>);

/// The sending end for commands, and what the thread publishes.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    commands: mpsc::SyncSender<Command>,
    waker: Waker,
    /// Frames of the sites that were asked for.
    pub(crate) sites: watch::Receiver<Arc<Sites>>,
    /// State of each probe. Closed when the thread has ended.
    pub(crate) probes: watch::Receiver<Arc<Vec<ProbeStatus>>>,
    /// What observing costs; `None` until the probes are attached.
    pub(crate) overhead: watch::Receiver<Option<Overhead>>,
    /// How the traces of threads are known.
    pub(crate) contexts: watch::Receiver<Arc<ContextStatus>>,
    /// The processes watched now.
    pub(crate) targets: watch::Receiver<Arc<Vec<Pid>>>,
}

impl Kernel {
    /// Starts the thread; observations go to `intake`.
    ///
    /// # Errors
    /// The thread could not be started, or this process has no descriptor left.
    pub(crate) fn start(options: Options, budget: Budget, intake: Intake) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (commands, inbox) = mpsc::sync_channel(COMMANDS);
        let waker = Waker::new()?;
        let woken = waker.clone();
        let (sites, sites_seen) = watch::channel(Arc::default());
        let (probes, probes_seen) = watch::channel(Arc::default());
        let (targets, targets_seen) = watch::channel(Arc::default());
        let (overhead, overhead_seen) = watch::channel(None);
        let (contexts, contexts_seen) = watch::channel(Arc::default());
        let handle = std::thread::Builder::new().name("kernel".to_owned()).spawn(move || {
            let mut session = Session::start(options);
            session.set_budget(budget);
            session.set_waker(woken);
            Thread {
                session,
                intake,
                inbox,
                sites,
                probes,
                overhead,
                contexts,
                targets,
                known: Known::default(),
                waiting: VecDeque::new(),
            }
            .run();
        })?;
        Ok((
            Self {
                commands,
                waker,
                sites: sites_seen,
                probes: probes_seen,
                overhead: overhead_seen,
                contexts: contexts_seen,
                targets: targets_seen,
            },
            handle,
        ))
    }

    /// Tells the session something; a full queue drops it (every command is repeated when it matters).
    pub(crate) fn tell(&self, command: Command) -> bool {
        let taken = self.commands.try_send(command).is_ok();
        self.waker.wake();
        taken
    }

    /// Watches a process.
    ///
    /// # Errors
    /// What the session said; `None` if it did not answer.
    pub(crate) async fn add(&self, pid: Pid) -> Result<(), Option<SessionError>> {
        let (reply, answer) = oneshot::channel();
        if !self.tell(Command::Add(pid, reply)) {
            return Err(None);
        }
        answer.await.map_err(|_| None)?.map_err(Some)
    }
}

/// Frames found so far, in the order in which they were found.
#[derive(Debug, Default)]
struct Known {
    sites: Sites,
    order: VecDeque<SiteId>,
}

impl Known {
    fn insert(&mut self, site: SiteId, frames: Vec<Frame>) {
        if self.sites.insert(site, frames).is_none() {
            self.order.push_back(site);
        }
        while self.order.len() > SITES {
            if let Some(oldest) = self.order.pop_front() {
                self.sites.remove(&oldest);
            }
        }
    }
}

struct Thread {
    session: Session,
    intake: Intake,
    inbox: mpsc::Receiver<Command>,
    sites: watch::Sender<Arc<Sites>>,
    probes: watch::Sender<Arc<Vec<ProbeStatus>>>,
    overhead: watch::Sender<Option<Overhead>>,
    contexts: watch::Sender<Arc<ContextStatus>>,
    targets: watch::Sender<Arc<Vec<Pid>>>,
    known: Known,
    waiting: VecDeque<SiteId>,
}

impl Thread {
    fn run(mut self) {
        let mut out = Vec::new();
        let mut published: Option<Instant> = None;
        loop {
            if published.is_none_or(|at| at.elapsed() >= PUBLISH) {
                self.publish();
                published = Some(Instant::now());
            }
            self.session.poll(if self.waiting.is_empty() { POLL } else { POLL_RESOLVING }, &mut out);
            for observation in out.drain(..) {
                self.intake.offer(observation);
            }
            if !self.obey() {
                return;
            }
            self.resolve();
        }
    }

    /// Takes the commands that wait; `false` when it is time to end.
    fn obey(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Add(pid, reply)) => {
                    let answer = self.session.add_target(pid);
                    // Its spans may come as soon as it is known to be watched: the engine hears of it before.
                    let mut news = Vec::new();
                    self.session.news(&mut news);
                    for observation in news {
                        self.intake.offer(observation);
                    }
                    self.publish();
                    // Whoever asked may have gone; the target is watched all the same.
                    drop(reply.send(answer));
                }
                Ok(Command::Ask(ask)) => self.session.ask(ask),
                Ok(Command::Name(told)) => {
                    // Told again and again: only news are published.
                    let news: Vec<_> =
                        told.into_iter().filter(|(site, _)| !self.known.sites.contains_key(site)).collect();
                    if !news.is_empty() {
                        news.into_iter().for_each(|(site, frames)| self.known.insert(site, frames));
                        self.sites.send_replace(Arc::new(self.known.sites.clone()));
                    }
                }
                Ok(Command::Open(pid, after, most, reply)) => {
                    let answer = self.open(pid, after, most);
                    // Whoever asked may have gone.
                    drop(reply.send(answer));
                }
                Ok(Command::Resolve(sites)) => {
                    let room = RESOLVE_QUEUE.saturating_sub(self.waiting.len());
                    let new = sites.into_iter().filter(|site| !self.known.sites.contains_key(site));
                    self.waiting.extend(new.take(room));
                }
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return false,
                Err(mpsc::TryRecvError::Empty) => return true,
            }
        }
    }

    fn open(&mut self, pid: Pid, after: Option<i32>, most: usize) -> Option<Opened> {
        let holdings = self.session.holdings(pid)?;
        let above = |number: &i32| after.is_none_or(|after| *number > after);
        let mut numbers: Vec<i32> = holdings.items.iter().map(|item| item.number).filter(above).collect();
        numbers.sort_unstable();
        let more = numbers.len() > most;
        numbers.truncate(most);
        let mut items = self.session.open(pid, &numbers)?;
        items.sort_by_key(|open| open.item.number);
        Some((items, numbers.last().copied().filter(|_| more)))
    }

    fn resolve(&mut self) {
        let batch = self.waiting.len().min(RESOLVE_BATCH);
        let mut found = false;
        for site in self.waiting.drain(..batch) {
            if !self.known.sites.contains_key(&site) {
                self.known.insert(site, self.session.frames(site));
                found = true;
            }
        }
        if found {
            self.sites.send_replace(Arc::new(self.known.sites.clone()));
        }
    }

    fn publish(&self) {
        self.probes.send_replace(Arc::new(self.session.status()));
        self.overhead.send_replace(Some(self.session.overhead()));
        self.contexts.send_replace(Arc::new(self.session.contexts()));
        // Whoever waits for them to change is woken by changes only.
        self.targets.send_if_modified(|known| {
            let targets = self.session.targets();
            let news = **known != targets;
            if news {
                *known = Arc::new(targets);
            }
            news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sites_are_bounded_and_the_oldest_goes_first() {
        let mut known = Known::default();
        for number in 0..=SITES as u64 {
            known.insert(SiteId(number), Vec::new());
        }
        assert_eq!(known.sites.len(), SITES);
        assert!(!known.sites.contains_key(&SiteId(0)));
        assert!(known.sites.contains_key(&SiteId(SITES as u64)));
    }
}
