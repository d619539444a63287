//! Others on the machine compute without end; the service's threads are ready and wait for a processor.

use super::super::{
    callers::{Callers, Plan},
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use crate::process::{Child, Machine, Spawn};
use serde_json::json;

const TRUTH: Option<Truth> = Some(Truth { kind: "cpu_saturation", place: None });

pub(super) const ALL: [Scenario; 2] = [
    Scenario {
        name: "neighbours-python",
        system: Kind::Threads.name(),
        truth: TRUTH,
        healthy: 50,
        watched: 70,
        alone: true,
        stage: |ground| stage(ground, Kind::Threads),
    },
    Scenario {
        name: "neighbours-go",
        system: Kind::Go.name(),
        truth: TRUTH,
        healthy: 50,
        watched: 70,
        alone: true,
        stage: |ground| stage(ground, Kind::Go),
    },
];

fn stage(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Stage> {
    let shop = Shop::start(ground, "shop", kind, &json!({"work_us": 4000}), Options::default())?;
    let callers = Callers::start(Plan::new(shop.address), None)?;
    let folder = ground.folder.to_path_buf();
    Ok(Stage::Ready(Set {
        pids: vec![shop.pid()],
        arguments: Vec::new(),
        begin: Box::new(move || {
            // Four for each processor: whoever is ready waits for most of the time.
            let processors = Machine::now()?.cores.max(1.0) as usize;
            let burn =
                |n: usize| Spawn::new(&format!("job{n}"), "sh").args(["-c", "while :; do :; done"]).start(&folder);
            let jobs: Vec<Child> = (0..4 * processors).map(burn).collect::<anyhow::Result<_>>()?;
            Ok(Box::new(jobs) as Kept)
        }),
        kept: vec![Box::new(shop)],
        callers: Some(callers),
    }))
}
