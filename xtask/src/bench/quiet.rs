//! Healthy services under a load that looks like leaks at first sight: pools that grow with bursts, caches of open
//! files, kept connections, prefork workers, children with pipes. Nothing may be raised, for as long as it runs.
//!
//! Cost: some forty requests a second in all, on whatever is given: Python twice, Node, Go, nginx, Redis, forked workers.

use crate::{
    process::{self, Child, Spawn, loopback},
    rig::{Agent, AgentPorts, Language, Service, Steady, interpreter, script},
};
use anyhow::{Context as _, bail, ensure};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Files that a cache may be asked for; the caches hold 40, nginx's 30.
const FILES: u64 = 150;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(120);
/// At once in a burst, and how often one comes.
const BURST: usize = 8;
const EVERY: u64 = 60;

/// What was seen.
#[derive(Debug)]
pub struct Quiet {
    /// Requests answered with 200, by service.
    pub answered: Vec<(&'static str, u64)>,
    /// Most descriptors that were called orphaned at one moment, in all.
    pub orphaned: u64,
    /// Incidents, as the agent told them.
    pub incidents: Vec<serde_json::Value>,
}

/// Runs all for so long, and tells what the agent raised.
///
/// # Errors
/// Something does not come up, or a service stops answering.
pub fn quiet(length: Duration) -> anyhow::Result<Quiet> {
    process::require_root("this")?;
    let folder = tempfile::Builder::new().prefix("snowshed-quiet-").tempdir().context("folder")?;
    let files = folder.path().join("files");
    fs::create_dir(&files)?;
    (0..FILES).try_for_each(|n| fs::write(files.join(n.to_string()), "x".repeat(200)))?;
    let upstream = Service::start(folder.path(), Language::PythonThreads, 0, &files)?;
    let port = upstream.address().port();
    let mut services = Vec::new();
    for language in Language::ALL {
        // Logs have the name of the language, and the first of them has one already.
        let own = folder.path().join(language.name());
        fs::create_dir(&own)?;
        services.push((language.name(), Service::start(&own, language, port, &files)?));
    }
    let mut others = vec![prefork(folder.path(), port)?, redis(folder.path())?, nginx(folder.path(), port, &files)?];
    let mut pids: Vec<String> = services.iter().map(|(_, service)| service.pid().to_string()).collect();
    pids.extend(others.iter().map(|(_, child, _)| child.pid().to_string()));
    let arguments: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", pid.as_str()]).collect();
    let agent = Agent::start(folder.path(), AgentPorts::free()?, &arguments)?;

    let mut clients = Vec::new();
    for (name, address) in services
        .iter()
        .map(|(name, service)| (*name, service.address()))
        .chain(others.iter().map(|(name, _, address)| (*name, *address)))
    {
        clients.push(Client::start(name, address)?);
    }
    let begun = Instant::now();
    let mut orphaned = 0;
    while begun.elapsed() < length {
        process::pause(Duration::from_millis(500))?;
        let told = agent.items("/api/v1/fds")?;
        orphaned = orphaned.max(told.iter().filter_map(|item| item["orphaned"].as_u64()).sum());
        for (name, child, _) in &mut others {
            ensure!(child.ended()?.is_none(), "{name} ended: {}", child.errors());
        }
    }
    let answered: Vec<_> =
        clients.iter().map(|client| (client.name, client.answered.load(Ordering::Relaxed))).collect();
    let incidents = agent.incidents()?;
    drop(clients);
    for (name, answered) in &answered {
        ensure!(*answered >= length.as_secs(), "{name} answered only {answered} times in {} s", length.as_secs());
    }
    Ok(Quiet { answered, orphaned, incidents })
}

type Other = (&'static str, Child, SocketAddr);

fn prefork(folder: &Path, upstream: u16) -> anyhow::Result<Other> {
    let arguments =
        [script("services").join("prefork.py").into(), upstream.to_string().into(), folder.as_os_str().into()];
    let mut child = Spawn::new("prefork", interpreter()).args::<[std::ffi::OsString; 3]>(arguments).start(folder)?;
    let line = child.wait_line("listening on ", Duration::from_secs(15))?;
    let port = line.rsplit(' ').next().and_then(|port| port.parse().ok()).context("no port")?;
    Ok(("prefork", child, loopback(port)))
}

fn redis(folder: &Path) -> anyhow::Result<Other> {
    let [port] = process::free_ports()?;
    let port_word = port.to_string();
    // It saves often: each time in a forked child, into a temporary file.
    let arguments = ["--port", &port_word, "--bind", "127.0.0.1", "--save", "5", "10", "--dir"];
    let spawn = Spawn::new("redis", "/usr/bin/redis-server").args(arguments).args([folder]);
    let child = spawn.start(folder).context("Debian: redis-server")?;
    answers("redis", loopback(port))?;
    Ok(("redis", child, loopback(port)))
}

fn nginx(folder: &Path, upstream: u16, files: &Path) -> anyhow::Result<Other> {
    let [port] = process::free_ports()?;
    let (path, files) = (folder.display(), files.display());
    let config = format!(
        "daemon off; worker_processes 3; user root; pid {path}/nginx.pid; error_log {path}/nginx.log;\n\
         events {{ worker_connections 64; }}\nhttp {{ access_log {path}/access.log; client_body_temp_path {path}/a;\n\
         proxy_temp_path {path}/b; fastcgi_temp_path {path}/c; uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;\n\
         open_file_cache max=30 inactive=60s; upstream python {{ server 127.0.0.1:{upstream}; keepalive 8; }}\n\
         server {{ listen 127.0.0.1:{port}; location /cache/ {{ alias {files}/; }}\n\
         location / {{ proxy_pass http://python; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_max_temp_file_size 0; }} }} }}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let spawn = Spawn::new("nginx", "/usr/sbin/nginx").args([std::ffi::OsStr::new("-c"), file.as_os_str()]);
    let log = folder.join("nginx.log");
    let child =
        spawn.args([std::ffi::OsStr::new("-e"), log.as_os_str()]).start(folder).context("Debian: nginx-light")?;
    answers("nginx", loopback(port)).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    Ok(("nginx", child, loopback(port)))
}

fn answers(name: &str, address: SocketAddr) -> anyhow::Result<()> {
    process::wait_until(name, Duration::from_secs(15), || Ok(TcpStream::connect(address).ok())).map(drop)
}

/// Asks one service, over and over, in every way that is healthy.
struct Client {
    name: &'static str,
    answered: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    fn start(name: &'static str, address: SocketAddr) -> anyhow::Result<Self> {
        let (answered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&answered), Arc::clone(&over));
        let work = move || {
            let mut kept = Steady::new(address);
            let mut round = 0;
            while !end.load(Ordering::Relaxed) {
                match step(name, address, &mut kept, round) {
                    Ok(()) => drop(count.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => eprintln!("{name}: {error:#}"),
                }
                round += 1;
                std::thread::sleep(PAUSE);
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(work)?;
        Ok(Self { name, answered, over, thread: Some(thread) })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already.
            thread.join().ok();
        }
    }
}

/// A few files are asked for often, most of them seldom.
fn seldom(round: u64) -> u64 {
    let mixed = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    if round.is_multiple_of(3) { mixed % FILES } else { mixed % 10 }
}

fn step(name: &str, address: SocketAddr, kept: &mut Steady, round: u64) -> anyhow::Result<()> {
    if name == "redis" {
        return ask_redis(address, round);
    }
    if round.is_multiple_of(EVERY) && name != "prefork" {
        // Everything at once: pools grow, and keep what they got.
        let burst: Vec<_> = (0..BURST).map(|_| std::thread::spawn(move || Steady::new(address).ask("/pool"))).collect();
        for one in burst {
            one.join().ok().context("a client panicked")??;
        }
        return Ok(());
    }
    let path = match (name, round % 8) {
        ("prefork", _) => "/".to_owned(),
        ("nginx", 0..5) | (_, 0..3) => format!("/cache/{}", seldom(round)),
        ("nginx", _) | (_, 3) => "/pool".to_owned(),
        (_, 4) => "/fine/file".to_owned(),
        (_, 5) => "/fine/temp".to_owned(),
        (_, 6) => "/fine/pipe".to_owned(),
        _ => "/fine/body".to_owned(),
    };
    if round % 5 < 2 || name == "prefork" {
        kept.part();
    }
    let status = kept.ask(&path)?;
    if name == "prefork" {
        // A worker serves one connection at a time.
        kept.part();
    }
    if status != 200 { bail!("{path}: {status}") } else { Ok(()) }
}

/// One command on a connection of its own.
fn ask_redis(address: SocketAddr, round: u64) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "SET key:{} {round}\r\n", round % 50)?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"+OK\r\n", "{answer:?}");
    Ok(())
}
