//! nginx before a service, and with files: it exports no spans.

use super::super::{
    callers::{Callers, Plan},
    cgroup::Group,
    score::Truth,
    shop::{Kind, Options, Shop},
    stage::{Ground, Kept, Scenario, Set, Stage},
};
use crate::{
    process,
    rig::{Hosts, Nginx},
};
use anyhow::ensure;
use serde_json::json;
use std::{fs, rc::Rc};

const fn one(
    name: &'static str,
    kind: Option<&'static str>,
    stage: fn(&Ground<'_>) -> anyhow::Result<Stage>,
) -> Scenario {
    Scenario { name, system: "nginx", truth: Truth::of(kind), healthy: 50, watched: 70, alone: false, stage }
}

pub(super) const ALL: [Scenario; 15] = [
    one("late-shop-nginx", Some("downstream_slow"), |ground| before_shop(ground, Behind::Late(600))),
    one("later-shop-nginx", Some("downstream_slow"), |ground| before_shop(ground, Behind::Late(250))),
    one("late-shop-in-waves-nginx", Some("downstream_slow"), |ground| asked(ground, Behind::Late(600), Plan::in_waves)),
    one("later-shop-in-waves-nginx", Some("downstream_slow"), |ground| {
        asked(ground, Behind::Late(250), Plan::in_waves)
    }),
    one("no-shop-in-waves-nginx", Some("downstream_slow"), |ground| asked(ground, Behind::Gone, Plan::in_waves)),
    one("still-shop-in-waves-nginx", Some("downstream_slow"), |ground| asked(ground, Behind::Still, Plan::in_waves)),
    one("still-shop-nginx", Some("downstream_slow"), |ground| before_shop(ground, Behind::Still)),
    one("no-shop-nginx", Some("downstream_slow"), |ground| before_shop(ground, Behind::Gone)),
    one("lossy-pages-nginx", Some("tcp_retransmits"), |ground| lossy_pages(ground, 0.04, |plan| plan)),
    one("lossier-pages-nginx", Some("tcp_retransmits"), |ground| lossy_pages(ground, 0.1, |plan| plan)),
    one("lossy-pages-in-waves-nginx", Some("tcp_retransmits"), |ground| lossy_pages(ground, 0.04, Plan::in_waves)),
    one("quota-nginx", Some("cpu_throttled"), quota),
    one("reload-nginx", None, reload),
    one("late-shop-in-quick-waves-nginx", Some("downstream_slow"), |ground| {
        asked(ground, Behind::Late(600), Plan::in_quick_waves)
    }),
    one("lossy-pages-unkept-nginx", Some("tcp_retransmits"), |ground| lossy_pages(ground, 0.04, Plan::unkept)),
];

/// Writes a page of so many bytes.
fn page(ground: &Ground<'_>, bytes: usize) -> anyhow::Result<()> {
    let folder = ground.folder.join("pages/item");
    fs::create_dir_all(&folder)?;
    for n in 0..7 {
        fs::write(folder.join(n.to_string()), vec![b'x'; bytes])?;
    }
    Ok(())
}

fn set(
    nginx: Nginx,
    kept: Vec<Kept>,
    callers: Callers,
    begin: impl FnOnce() -> anyhow::Result<Kept> + 'static,
) -> Stage {
    let pids = vec![nginx.pid()];
    let kept = std::iter::once(Box::new(nginx) as Kept).chain(kept).collect();
    Stage::Ready(Set { pids, arguments: Vec::new(), begin: Box::new(begin), kept, callers: Some(callers) })
}

/// What becomes of the service behind it.
#[derive(Clone, Copy)]
enum Behind {
    /// So many milliseconds.
    Late(u32),
    Still,
    Gone,
}

fn before_shop(ground: &Ground<'_>, how: Behind) -> anyhow::Result<Stage> {
    asked(ground, how, |plan| plan)
}

fn asked(ground: &Ground<'_>, how: Behind, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    let shop = Shop::start(ground, "shop", Kind::Threads, &json!({"work_us": 500}), Options::default())?;
    let nginx = Nginx::start(ground.folder, None, &format!("proxy_pass http://{};", shop.address), "")?;
    let callers = Callers::start(plan(Plan::new(nginx.address)), None)?;
    Ok(set(nginx, Vec::new(), callers, move || {
        match how {
            Behind::Late(answer_ms) => shop.knob().turn(&json!({"answer_ms": answer_ms}))?,
            Behind::Still => shop.stand(true)?,
            Behind::Gone => {
                drop(shop);
                return Ok(Box::new(()));
            }
        }
        Ok(Box::new(shop))
    }))
}

/// Packets to its callers get lost.
fn lossy_pages(ground: &Ground<'_>, lost: f64, plan: fn(Plan) -> Plan) -> anyhow::Result<Stage> {
    let hosts = Rc::new(Hosts::make(ground.number)?);
    page(ground, 40 << 10)?;
    let nginx = Nginx::start(ground.folder, Some((&hosts, 0)), "", "")?;
    let callers = Callers::start(plan(Plan::new(nginx.address)), Some(&hosts.namespace(1)?))?;
    let on = Rc::clone(&hosts);
    Ok(set(nginx, vec![Box::new(hosts)], callers, move || {
        on.lose(1, lost)?;
        Ok(Box::new(on))
    }))
}

/// Its control group may use less than it needs.
fn quota(ground: &Ground<'_>) -> anyhow::Result<Stage> {
    let group = match Group::of_processors(ground.number.into()) {
        Ok(group) => group,
        Err(error) => return Ok(Stage::Skipped(format!("no limit of processors can be had: {error:#}"))),
    };
    page(ground, 2 << 20)?;
    let nginx = Nginx::start(ground.folder, None, "", "")?;
    group.take(nginx.pid())?;
    // Its workers were there before.
    for child in process::children(nginx.pid())? {
        group.take(child)?;
    }
    let callers = Callers::start(Plan::new(nginx.address), None)?;
    Ok(set(nginx, Vec::new(), callers, move || {
        // Half of what it needs on a fast processor; with as much as that nine tenths of the work went on.
        group.slow_down(1_000)?;
        Ok(Box::new(group))
    }))
}

/// A new configuration: another worker takes over, and the old one ends with its last request.
fn reload(ground: &Ground<'_>) -> anyhow::Result<Stage> {
    page(ground, 4 << 10)?;
    let nginx = Nginx::start(ground.folder, None, "", "")?;
    let callers = Callers::start(Plan::new(nginx.address), None)?;
    let pid = nginx.pid();
    Ok(set(nginx, Vec::new(), callers, move || {
        ensure!(process::signal(pid, libc::SIGHUP)?, "nginx is gone");
        Ok(Box::new(()))
    }))
}
