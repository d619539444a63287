//! scratch
use snowshed_ebpf::*;
use snowshed_engine::model::*;
use std::time::Duration;
#[test]
fn look() {
    let mut s = Session::start(Options::default());
    for st in s.status() { println!("{st:?}"); }
    s.add_target(std::process::id()).unwrap();
    let _keep: Vec<_> = (0..5).map(|_| std::fs::File::open("/etc/passwd").unwrap()).collect();
    let mut out = vec![];
    for _ in 0..30 { s.poll(Duration::from_millis(50), &mut out); }
    let mut sites = std::collections::BTreeSet::new();
    for o in &out { if let Observation::Holdings(h) = o { println!("{:?} items {}", h.limit, h.items.len()); for i in &h.items { println!("  {i:?}"); sites.insert(i.site); } } else { println!("{o:?}"); } }
    for site in sites { println!("{site:?}"); for f in s.frames(site) { println!("     {f:?}"); } }
    for st in s.status() { println!("{st:?}"); }
}
