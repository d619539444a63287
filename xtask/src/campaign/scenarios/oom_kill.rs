//! The service suddenly needs more memory than its control group has; the kernel kills it.

use super::super::{
    callers::{Callers, Plan},
    cgroup::Group,
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Kept, Scenario, Set, Stage},
};
use serde_json::json;

pub(super) const ALL: [Scenario; 1] = [Scenario {
    name: "memory-limit",
    system: Kind::Threads.name(),
    truth: Some(Truth { kind: "oom_kill", place: None }),
    healthy: 45,
    watched: 40,
    stage: |ground| {
        let group = match Group::make("memory", ground.number.into()) {
            Ok(group) => group,
            Err(error) => return Ok(Stage::Skipped(format!("no limit of memory can be had: {error:#}"))),
        };
        group.set("memory.limit_in_bytes", &(160 << 20).to_string())?;
        let shop = Shop::start(ground, "shop", Kind::Threads, &json!({"work_us": 500}), Options::default())?;
        group.take(shop.pid())?;
        let callers = Callers::start(Plan::new(shop.address), None)?;
        let knob = shop.knob();
        Ok(Stage::Ready(Set {
            pids: vec![shop.pid()],
            arguments: Vec::new(),
            begin: Box::new(move || {
                knob.turn(&json!({"session_kb": 1024}))?;
                Ok(Box::new(group) as Kept)
            }),
            kept: vec![Box::new(shop)],
            callers: Some(callers),
        }))
    },
}];
