//! The task with a real engine. The kernel source and the service are fakes: the test sends what they would.

use super::*;
use crate::sources::Intake;
use snowshed_engine::{
    config::EngineConfig,
    model::{CauseKind, Join, OpenRequests, ProcessSeen, Stall},
};
use std::sync::Mutex;

const SECOND: Nanos = 1_000_000_000;
/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Fake {
    kernel: Intake,
    told: Intake,
    asking: mpsc::Sender<Question>,
    picture: watch::Receiver<Arc<Picture>>,
    heard: Arc<Mutex<Vec<Arc<Numbered>>>>,
    resolved: Arc<Mutex<Vec<SiteId>>>,
    tally: Tally,
    end: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    clock: Clock,
    _sites: watch::Sender<Arc<crate::render::Sites>>,
}

fn fake() -> Fake {
    let tally = Tally::new().expect("the table is valid");
    let (kernel, kernel_queue) = Intake::new(tally.queue_dropped.with_label_values(&["kernel"]));
    let (told, told_queue) = Intake::new(tally.queue_dropped.with_label_values(&["told"]));
    let (picture, picture_seen) = watch::channel(Arc::new(Picture::default()));
    let (sites, sites_seen) = watch::channel(Arc::default());
    let (asking, asked) = mpsc::channel(4);
    let (end, ended) = watch::channel(false);
    let (heard, resolved) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let clock = Clock::measured();
    let (hearing, resolving) = (Arc::clone(&heard), Arc::clone(&resolved));
    let ports = Ports {
        tell: vec![Box::new(move |numbered| hearing.lock().expect("no panic").push(Arc::clone(numbered)))],
        act: Box::new(|_, _| None),
        ask: Box::new(|_| ()),
        resolve: Box::new(move |sites| resolving.lock().expect("no panic").extend(sites)),
        gone: Box::new(|_| ()),
    };
    let decider = Decider {
        engine: Engine::new(EngineConfig::default()),
        clock: clock.clone(),
        tally: tally.clone(),
        ports,
        sites: sites_seen,
        recorder: None,
        picture,
    };
    let task = tokio::spawn(decider.run(kernel_queue, told_queue, asked, ended));
    Fake { kernel, told, asking, picture: picture_seen, heard, resolved, tally, end, task, clock, _sites: sites }
}

fn process(name: &str, started: Nanos) -> Observation {
    Observation::Process(ProcessSeen { pid: 42, name: name.into(), started, parent: None, instance: None })
}

impl Fake {
    async fn until(&mut self, what: impl FnMut(&Arc<Picture>) -> bool) -> Arc<Picture> {
        let found = tokio::time::timeout(PATIENCE, self.picture.wait_for(what)).await;
        found.expect("in time").expect("the task runs").clone()
    }
}

#[tokio::test]
async fn what_a_source_says_becomes_a_numbered_incident_under_the_services_name() {
    let mut fake = fake();
    assert!(fake.kernel.offer(process("snowshed-transc", 7)));
    fake.until(|picture| picture.view.targets.len() == 1).await;
    assert!(fake.told.offer(process("transcoder", 0)));
    fake.until(|picture| picture.view.targets.iter().any(|target| target.name == "transcoder")).await;
    let now = fake.clock.now();
    fake.told.offer(Observation::OpenRequests(OpenRequests {
        pid: 42,
        at: now,
        in_flight: 3,
        limit: None,
        rejected_total: 0,
        complete: true,
        items: Vec::new(),
    }));
    let trace: TraceId = "0af7651916cd43dd8448eb211c80319c".parse().expect("a trace id");
    let stall = Stall {
        pid: 42,
        tid: 43,
        thread: "worker".into(),
        instance: 4,
        since: now - 2 * SECOND,
        until: now,
        trace: Some(trace),
        join: Join::ThreadContext,
        site: SiteId(9),
        on_cpu: false,
        syscall: Some("clock_nanosleep".into()),
        starved: true,
        spent: None,
    };
    assert!(fake.kernel.offer(Observation::Stall(stall)));
    let picture = fake.until(|picture| !picture.view.incidents.is_empty()).await;
    let (passport, incident) = picture.incidents().next().expect("a passport for each incident");
    assert_eq!(passport.id.get_version_num(), 7);
    assert_eq!(passport.target_started, Some(7));
    assert_eq!((incident.pid, &*incident.name), (42, "transcoder"));
    assert_eq!(incident.causes.first().map(|cause| cause.kind), Some(CauseKind::EventLoopStall));
    let heard = fake.heard.lock().expect("no panic").first().cloned().expect("told");
    assert_eq!(heard.passport, *passport);
    assert!(fake.resolved.lock().expect("no panic").contains(&SiteId(9)), "names are asked for");
    assert_eq!(fake.tally.incidents_opened.with_label_values(&["stall"]).get(), 1);
    let ask = async |trace| {
        let (reply, answer) = oneshot::channel();
        fake.asking.send(Question { trace, reply }).await.expect("the task runs");
        tokio::time::timeout(PATIENCE, answer).await.expect("in time").expect("answered")
    };
    let known = ask(trace).await.expect("the stall was of this trace");
    assert_eq!((known.stalls.len(), known.stalls[0].tid, known.stalls[0].site), (1, 43, SiteId(9)));
    assert_eq!(ask(TraceId([1; 16])).await.expect_err("nothing was seen of it").kept, 1);
    fake.end.send_replace(true);
    tokio::time::timeout(PATIENCE, fake.task).await.expect("in time").expect("no panic");
}

#[tokio::test]
async fn it_goes_on_when_a_source_ends() {
    let mut fake = fake();
    let gone = std::mem::replace(&mut fake.kernel, fake.told.clone());
    drop(gone);
    let before = fake.picture.borrow().view.at;
    fake.until(|picture| picture.view.at > before).await;
    fake.end.send_replace(true);
    tokio::time::timeout(PATIENCE, fake.task).await.expect("in time").expect("no panic");
}
