//! Callers whose requests trickle in, a few bytes a second, until every worker waits for the rest of one.

use super::super::{
    callers::{Callers, Plan},
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use serde_json::json;
use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

const TRUTH: Option<Truth> = Some(Truth { kind: "deadline_overrun", place: None });
/// Workers, and callers that trickle.
const SEATS: usize = 8;
/// Between two of their bytes.
const PAUSE: Duration = Duration::from_millis(400);

pub(super) const ALL: [Scenario; 1] = [Scenario {
    name: "slow-senders-pool",
    system: Kind::Pool.name(),
    truth: TRUTH,
    healthy: 50,
    watched: 90,
    alone: false,
    stage,
}];

fn stage(ground: &Ground<'_>) -> anyhow::Result<Stage> {
    let settings = json!({"work_us": 1000, "seats": SEATS});
    let shop = Shop::start(ground, "shop", Kind::Pool, &settings, Options::default())?;
    let address = shop.address;
    let callers = Callers::start(Plan { part_after: 1, ..Plan::new(address) }, None)?;
    Ok(Stage::Ready(Set {
        pids: vec![shop.pid()],
        arguments: Vec::new(),
        begin: Box::new(move || Ok(Box::new(Trickle::start(address)) as Kept)),
        kept: vec![Box::new(shop)],
        callers: Some(callers),
    }))
}

/// Callers that never get to the end of their request.
struct Trickle {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Trickle {
    fn start(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let one = || {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let Ok(mut stream) = TcpStream::connect(address) else { return };
                let mut text = b"GET /item/1 HTTP/1.1\r\nHost: shop\r\nX-Note: ".to_vec();
                while !over.load(Ordering::Relaxed) && stream.write_all(&text).is_ok() {
                    text = b"a".to_vec();
                    std::thread::sleep(PAUSE);
                }
            })
        };
        Self { threads: (0..SEATS).map(|_| one()).collect(), over }
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}
