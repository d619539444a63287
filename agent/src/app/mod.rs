//! `snowshed run`: the only place that wires and spawns.
//!
//! Invariant: what cannot be had is refused before anything is watched; after that nothing but the
//! operator ends the agent. On the way out everything that is enforced is given back.

mod bounded;
mod listen;
mod select;

use crate::{
    actuators::guard::Leases,
    api::{self, stream::Hub},
    clock::{self, Clock},
    config::Config,
    decide::{Decider, Ports, Question, Tell},
    failure::Failure,
    metrics::Tally,
    own,
    record::Recorder,
    render::{Numbered, Picture, named_record, wire_name},
    sinks,
    sources::{
        Intake, guard,
        kernel::{Command, Kernel},
        otlp, scrape,
    },
    store::Store,
};
use listen::Listeners;
use snowshed_ebpf::{Options, Session};
use snowshed_engine::{
    Engine,
    model::{ActuatorKind, Observation},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};

/// How long services may take to fetch the news that nothing is limited any more.
const GIVE_BACK: Duration = Duration::from_millis(1_200);
/// How long all of the end may take; three seconds are promised.
const LAST_WORDS: Duration = Duration::from_millis(2_500);
/// Questions about traces that wait for the engine's task.
const QUESTIONS: usize = 16;
/// Incident changes waiting to be put on the event stream.
const STREAM_QUEUE: usize = 256;

/// Runs the agent until it is told to end.
///
/// # Errors
/// Whatever makes it pointless to start: a port in use, a process that does not exist, a sink's address
/// that makes no sense.
pub(crate) async fn run(config: Config) -> Result<(), Failure> {
    let mut ends = Ends::new()?;
    let clock = Clock::measured();
    let tally = Tally::new().map_err(|error| Failure::new(format!("metrics: {error}")))?;
    let recorder = match &config.record {
        Some(path) => Some(
            Recorder::create(path, config.record_max_bytes)
                .map_err(|error| Failure::usage(format!("--record {}: {error}", path.display())))?,
        ),
        None => None,
    };
    let listeners = Listeners::bind(&config).await?;
    let (kernel_intake, kernel_queue) = Intake::new(tally.queue_dropped.with_label_values(&["kernel"]));
    let (told_intake, told_queue) = Intake::new(tally.queue_dropped.with_label_values(&["told"]));
    let (kernel, thread) = Kernel::start(Options::default(), config.overhead, kernel_intake)
        .map_err(|error| Failure::new(format!("the kernel's thread: {error}")))?;
    let selector = config.selector();
    select::add_named(&kernel, &selector.pids).await?;

    let (end, ended) = watch::channel(false);
    let (picture, picture_seen) = watch::channel(Arc::new(Picture::default()));
    let (states, scrapes) = watch::channel(Arc::default());
    let leases = Leases::default();
    let (questions, asked) = mpsc::channel(QUESTIONS);
    let (store, storing) = start_store(&config)?;
    let sources = api::Sources {
        picture: picture_seen,
        sites: kernel.sites.clone(),
        probes: kernel.probes.clone(),
        overhead: kernel.overhead.clone(),
        contexts: kernel.contexts.clone(),
        open: opener(&kernel),
        scrapes,
        trace: asker(questions),
        store: store.clone(),
        hub: Arc::new(Hub::new()),
        clock: clock.clone(),
        tally: tally.clone(),
        started: clock.now(),
        enforce: Arc::new(config.engine.enforce.iter().map(wire_name).collect()),
    };

    let mut tasks = JoinSet::new();
    let (to_stream, from_decider) = mpsc::channel(STREAM_QUEUE);
    let mut tell = start_sinks(&config, &sources, listeners.url(), &mut tasks)?;
    let lagged = tally.stream_lagged.with_label_values::<&str>(&[]);
    tell.push(Box::new(move |numbered| {
        if to_stream.try_send(Arc::clone(numbered)).is_err() {
            lagged.inc();
        }
    }));
    let decider = Decider {
        engine: Engine::new(config.engine.clone()),
        clock: clock.clone(),
        tally: tally.clone(),
        ports: ports(tell, &leases, &kernel),
        sites: kernel.sites.clone(),
        recorder,
        picture,
    };
    let deciding = tokio::spawn(decider.run(kernel_queue, told_queue, asked, ended.clone()));

    tasks.spawn(stream(sources.clone(), from_decider));
    tasks.spawn(keep_house(clock.clone()));
    tasks.spawn(select::follow(kernel.clone(), selector));
    tasks.spawn(scrape::run(scrape::Desk {
        endpoints: config.scrape.clone(),
        every: scrape::EVERY,
        intake: told_intake.clone(),
        targets: kernel.targets.clone(),
        name: namer(&kernel),
        states,
        tally: tally.clone(),
    }));
    let reports = guard::router(guard::Desk {
        intake: told_intake.clone(),
        targets: kernel.targets.clone(),
        lessor: lessor(&leases, &told_intake),
        now: Session::now,
        tally: tally.clone(),
    });
    let (forward, forwarding) = otlp::forward::start(&config.sources.otlp, tally.clone()).map_err(Failure::usage)?;
    if let Some(forwarding) = forwarding {
        tasks.spawn(forwarding);
    }
    let spans = otlp::Desk {
        intake: told_intake,
        targets: kernel.targets.clone(),
        picture: sources.picture.clone(),
        clock,
        tally,
        forward,
    };
    println!("{}", listeners.ready_line());
    listeners.serve(&sources, reports, &spans, &ended, &mut tasks);

    ends.wait().await;
    tracing::info!("ending");
    // Detaching takes the kernel a moment, in which services can fetch their release.
    let latest = Instant::now() + LAST_WORDS;
    kernel.tell(Command::Stop);
    let detached = tokio::task::spawn_blocking(move || thread.join());
    give_back(&leases).await;
    sources.hub.close();
    end.send_replace(true);
    let last_words = async {
        drop(deciding.await);
        drop(detached.await);
        store.stop();
        if let Some(storing) = storing {
            drop(tokio::task::spawn_blocking(move || storing.join()).await);
        }
    };
    if tokio::time::timeout_at(latest, last_words).await.is_err() {
        tracing::warn!("a part of the agent did not end in time and was left behind");
    }
    tasks.shutdown().await;
    Ok(())
}

/// The signals that end the agent.
struct Ends {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Ends {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(format!("signals: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The store of incidents, where there is a directory for it.
fn start_store(config: &Config) -> Result<(Store, Option<std::thread::JoinHandle<()>>), Failure> {
    let Some(directory) = &config.state_dir else { return Ok((Store::off(), None)) };
    let (store, handle) =
        Store::start(directory, config.store).map_err(|error| Failure::new(format!("the store's thread: {error}")))?;
    Ok((store, Some(handle)))
}

/// Starts every sink that the configuration wants.
fn start_sinks(
    config: &Config,
    sources: &api::Sources,
    agent_url: String,
    tasks: &mut JoinSet<()>,
) -> Result<Vec<Tell>, Failure> {
    let settings = config.sinks();
    let mut tell: Vec<Tell> = Vec::new();
    for unit in sinks::ALL {
        let context = sinks::Context {
            sites: sources.sites.clone(),
            clock: sources.clock.clone(),
            store: sources.store.clone(),
            tally: sources.tally.clone(),
            agent_url: agent_url.clone(),
        };
        let queue = sinks::Queue::new(sources.tally.sink_dropped.with_label_values(&[unit.name]));
        if let Some(task) = (unit.start)(&settings, context, queue.clone()).map_err(Failure::usage)? {
            sources.tally.sink_started(unit.name);
            tasks.spawn(task);
            tell.push(Box::new(move |numbered| queue.push(Arc::clone(numbered))));
        }
    }
    Ok(tell)
}

fn ports(tell: Vec<Tell>, leases: &Leases, kernel: &Kernel) -> Ports {
    let (acting, forgetting) = (leases.clone(), leases.clone());
    let (asked, resolving) = (kernel.clone(), kernel.clone());
    Ports {
        tell,
        act: Box::new(move |act, now| match act.actuator {
            ActuatorKind::Guard => acting.act(act, now),
            // Refused at the start, so the engine never orders it.
            ActuatorKind::Envoy | ActuatorKind::SkLookup | ActuatorKind::Recycle => None,
        }),
        // A question that finds the queue full is asked again by the engine, a name at the next view.
        ask: Box::new(move |ask| {
            asked.tell(Command::Ask(ask));
        }),
        resolve: Box::new(move |sites| {
            resolving.tell(Command::Resolve(sites));
        }),
        gone: Box::new(move |pid| {
            forgetting.forget(pid);
            tracing::info!("pid {pid} has ended");
        }),
    }
}

/// Asks the kernel's thread, and hands on its answer in the API's words.
fn opener(kernel: &Kernel) -> api::fds::Opener {
    let kernel = kernel.clone();
    Arc::new(move |pid, after, most| {
        let (reply, answer) = oneshot::channel();
        let (told, telling) = oneshot::channel();
        kernel.tell(Command::Open(pid, after, most, reply)).then(|| {
            tokio::spawn(async move {
                if let Ok(found) = answer.await {
                    // Whoever asked may have gone.
                    drop(told.send(found.map(|(items, next)| api::fds::Part { items, next })));
                }
            });
            telling
        })
    })
}

/// Asks the engine's task about a trace.
fn asker(questions: mpsc::Sender<Question>) -> api::traces::Asker {
    Arc::new(move |trace| {
        let (reply, answer) = oneshot::channel();
        questions.try_send(Question { trace, reply }).is_ok().then_some(answer)
    })
}

/// Hands names that a target told itself to whoever keeps names; a full queue drops them until the next time.
fn namer(kernel: &Kernel) -> Box<dyn Fn(scrape::Named) + Send + Sync> {
    let kernel = kernel.clone();
    Box::new(move |named| {
        kernel.tell(Command::Name(named));
    })
}

fn lessor(leases: &Leases, intake: &Intake) -> guard::Lessor {
    let (leases, intake) = (leases.clone(), intake.clone());
    Arc::new(move |pid, in_force, now| {
        let (lease, news) = leases.answer(pid, in_force, now);
        if let Some(news @ Observation::Acted(_)) = news {
            intake.offer(news);
        }
        guard::Lease {
            schema: 1,
            lease_ms: lease.lease_ms,
            limit: lease.limit,
            retry_after_s: lease.retry_after_s,
            reason: lease.reason,
        }
    })
}

/// Between two samples at least; pictures are published once a second, and at once when an incident changes.
const SAMPLE: Duration = Duration::from_millis(900);

/// Puts samples and incidents on the event stream: a sample with the picture that it shows, so that nobody wakes up for it
/// alone.
async fn stream(mut sources: api::Sources, mut incidents: mpsc::Receiver<Arc<Numbered>>) {
    let mut sampled: Option<Instant> = None;
    loop {
        tokio::select! {
            // Once nobody publishes any more, what happened last is still told.
            Ok(()) = sources.picture.changed() => {
                if sampled.is_none_or(|at| at.elapsed() >= SAMPLE) {
                    sampled = Some(Instant::now());
                    sources.hub.publish("sample", api::sample::json(&sources));
                }
            }
            numbered = incidents.recv() => {
                let Some(numbered) = numbered else { return };
                let record = named_record(&numbered, &sources.sites, &sources.clock).await;
                if let Ok(json) = serde_json::to_string(&record) {
                    sources.hub.publish("incident", json);
                }
            }
        }
    }
}

/// When the start is over, and what it needed can go.
const STARTED: Duration = Duration::from_secs(5);

/// How often memory is given back that only the past needed. Each time costs a fault for what is needed again.
const TIDY: Duration = Duration::from_secs(20);

/// Measures the clocks anew, and gives back memory.
async fn keep_house(clock: Clock) {
    let begin = Instant::now() + STARTED;
    let (mut minute, mut tidy) =
        (tokio::time::interval_at(begin, clock::REMEASURE), tokio::time::interval_at(begin, TIDY));
    loop {
        tokio::select! {
            _ = minute.tick() => clock.remeasure(),
            _ = tidy.tick() => own::give_back(),
        }
    }
}

/// Answers reports without a limit until every service has said that it is open, or time is up; what is
/// left then runs out by its lease.
async fn give_back(leases: &Leases) {
    if leases.release_all() == 0 {
        return;
    }
    let open = async {
        while leases.pending() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(GIVE_BACK, open).await.is_err() {
        tracing::warn!("{} services did not fetch their release; their leases run out", leases.pending());
    }
}
