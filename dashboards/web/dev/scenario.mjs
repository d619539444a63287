// For development only: an invented service at any second of an invented incident. Not measured, shown nowhere else.

const TRACE = (n) => (0x4bf92f3577b34da6n * BigInt(n + 3) & 0xffffffffffffffffn).toString(16).padStart(16, "0").repeat(2);
const noise = (t, salt) => {
  const x = Math.sin(t * 12.9898 + salt * 78.233) * 43758.5453;
  return x - Math.floor(x);
};

/** Seconds of the story: the fault begins, is suspected, detected, named, limited, ends, is recovered. */
const STORY = { onset: 120, suspected: 122, detected: 124, named: 126, limited: 131, ended: 190, recovered: 214 };

const leaking = (t) => Math.max(0, Math.min(t, STORY.ended) - STORY.onset);

function orphans(t, kind) {
  if (kind !== "leak") return 0;
  const rate = (s) => (s < STORY.limited ? 6 : 2.4);
  const before = Math.max(0, Math.min(t, STORY.limited) - STORY.onset) * rate(0);
  const after = Math.max(0, Math.min(t, STORY.ended) - STORY.limited) * rate(STORY.limited);
  return t > STORY.recovered ? 0 : Math.round(before + after);
}

export function sample(t, at, kind) {
  if (kind === "empty") return { at, targets: [], slos: [], breakers: [], agent: { cpu_seconds_total: t * 0.006, rss_bytes: 22.4e6 } };
  const sick = kind !== "quiet" && t > STORY.onset && t < STORY.ended;
  const stalled = kind === "stall" && sick;
  const limited = kind === "leak" && t > STORY.limited && t < STORY.recovered;
  const flight = limited ? 24 + noise(t, 1) * 2 : 38 + 6 * Math.sin(t / 19) + 5 * noise(t, 1);
  const lost = orphans(t, kind);
  const live = 34 + Math.round(flight * 1.4) + lost;
  const busy = (salt) => Math.min(1, (stalled && salt === 2 ? 0.97 : 0.16) + 0.12 * noise(t, salt) + 0.05 * Math.sin(t / 11 + salt));
  const p99 = (stalled ? 1.4 : kind === "leak" && sick && !limited ? 0.31 + leaking(t) / 60 : 0.21) + 0.04 * noise(Math.floor(t / 5), 9);
  const eta = lost > 20 && t < STORY.ended ? [(1024 - live) / (limited ? 2.7 : 7), (1024 - live) / (limited ? 2 : 5)] : null;
  const burning = sick && t > STORY.onset + 30;
  const started = new Date(Date.parse(at) - (t + 3600) * 1000).toISOString();
  const target = {
    pid: 41822, name: "snowshed-transcoder", started_at: started,
    fds: { live, orphaned: lost, limit: 1024, eta_seconds: eta },
    rss_bytes: { anon: 181e6 + lost * 41e3 + 6e6 * noise(t, 4), file: 34e6 }, threads: 22,
    loops: [2, 3, 5, 6].map((salt) => ({ tid: 41822 + salt, busy_ratio: busy(salt), waits_per_second: 800 + 90 * noise(t, salt) })),
    stalls_total: kind === "stall" ? Math.floor(leaking(t) / 3) : 0,
    retransmits_total: Math.floor(t / 47) + Math.floor(t / 31),
    requests_total: Math.floor(t * 11.5), latency_seconds: t < 15 ? null : { p50: p99 * 0.42, p99 },
    in_flight: Math.round(flight), limit: limited ? 26 : null,
    suspected: sick && t >= STORY.suspected && t < STORY.named
      ? { since: new Date(Date.parse(at) - (t - STORY.suspected) * 1000).toISOString(), causes: [suspect(kind)] } : null,
  };
  const other = {
    ...target, pid: 41790, name: "alertmanager", fds: { live: 14, orphaned: 0, limit: 1048576, eta_seconds: null },
    rss_bytes: { anon: 28e6, file: 41e6 }, suspected: null, threads: 9, stalls_total: 0, requests_total: 0, latency_seconds: null,
    in_flight: null, limit: null, loops: [{ tid: 41791, busy_ratio: 0.01 + 0.01 * noise(t, 7), waits_per_second: 4 }],
  };
  const slo = {
    name: "transcode-first-byte", service: "transcoder", target: 0.95,
    state: t < 16 ? "insufficient_data" : burning ? "burning" : sick && t > STORY.onset + 12 ? "violated" : "ok",
    ratio: t < 16 ? null : sick ? 0.8124 : 0.9982, window_requests: 172,
    violations: burning ? 3 : sick ? Math.min(3, Math.floor(leaking(t) / 15)) : 0, budget_used: Math.min(1, leaking(t) / 140),
  };
  return {
    at, targets: [other, target], slos: [slo],
    breakers: limited ? [{ pid: 41822, state: "limited", limit: 26, reason: "fd_leak", dry_run: false, expires_at: null }] : [],
    agent: { cpu_seconds_total: t * 0.0062 + 0.4, rss_bytes: 22.4e6 + 1e5 * noise(t, 8) },
  };
}

function suspect(kind) {
  return kind === "leak"
    ? { kind: "fd_leak", confidence: 0.86, title: "11 descriptors are held by requests that ended; opened at scratch::open (transcoder/src/faults/scratch.rs:41)" }
    : { kind: "event_loop_stall", confidence: 0.81, title: "thread tokio-rt-worker blocks its event loop for 1.4 s in filter::scale" };
}

/** The incident as it stands at second `t`, or null before it is detected. `wall` turns a second into a time. */
export function incident(t, wall, kind) {
  if ((kind !== "leak" && kind !== "stall") || t < STORY.detected) return null;
  const reached = (second) => (t >= second ? wall(second) : null);
  const lost = orphans(Math.min(t, STORY.ended), "leak");
  const named = t >= STORY.named;
  const leak = {
    kind: "fd_leak", confidence: 0.93,
    title: `${lost} fds held by requests that ended; they are opened at scratch::open (transcoder/src/faults/scratch.rs:41)`,
    site: { frames: [
      "snowshed_transcoder::faults::scratch::open (transcoder/src/faults/scratch.rs:41)",
      "snowshed_transcoder::pipeline::demux::Input::spill (transcoder/src/pipeline/demux.rs:118)",
      "snowshed_transcoder::pipeline::run (transcoder/src/pipeline/mod.rs:77)",
      "snowshed_transcoder::service::worker::work (transcoder/src/service/worker.rs:52)",
      "std::sys::backtrace::__rust_begin_short_backtrace (std/src/sys/backtrace.rs:158)",
    ], own: [0, 1, 2, 3] },
    thread: null, connection: null,
    trace_ids: Array.from({ length: Math.min(16, 3 + Math.floor(lost / 12)) }, (_, n) => TRACE(n)),
    evidence: [
      { layer: "application", signal: "fd.orphaned", before: 0, after: lost, unit: "fds", n: lost, join: "thread_context", ambiguity: 1 },
      { layer: "application", signal: "fd.growth", before: 0.02, after: 5.9, unit: "fds/s", n: 88, join: "window", ambiguity: 1 },
      { layer: "network", signal: "tcp.retransmits", before: 0.02, after: 0.04, unit: "1/s", n: 3, join: "socket", ambiguity: 2 },
      { layer: "infrastructure", signal: "memory.rss_anon", before: 181e6, after: 189e6, unit: "bytes", n: 60, join: "none", ambiguity: 1 },
    ],
    forecast: { resource: "fds", level: 87 + lost, limit: 1024, eta_seconds: t < STORY.limited ? [(937 - lost) / 7, (937 - lost) / 5] : [(937 - lost) / 2.7, (937 - lost) / 2] },
  };
  const stall = {
    kind: "event_loop_stall", confidence: 0.88, title: "thread tokio-rt-worker blocks its event loop for 1.4 s in filter::scale",
    site: { frames: ["snowshed_transcoder::pipeline::filter::scale (transcoder/src/pipeline/filter.rs:92)", "tokio::runtime::task::core::Core::poll"], own: [0] },
    thread: { tid: 41824, name: "tokio-rt-worker" }, connection: { local: "127.0.0.1:8080", peer: "127.0.0.1:51774" },
    trace_ids: [TRACE(7), TRACE(8)],
    evidence: [{ layer: "application", signal: "epoll.busy", before: 0.18, after: 0.97, unit: "ratio", n: 24, join: "thread_context", ambiguity: 1 }],
    forecast: null,
  };
  const causes = kind === "leak" ? [leak, { ...stall, confidence: 0.11 }] : [stall];
  const limit = { actuator: "guard", dry_run: false, reason: "fd_leak: descriptors run out before the fault ends" };
  return {
    id: "01968f3a-5a6c-7d02-9c1e-6f2b8a7d4410",
    target: { name: "snowshed-transcoder", pid: 41822, started_at: wall(-3600), service_instance_id: null, pod: null },
    severity: "page", opened_at: wall(STORY.detected), updated_at: wall(Math.min(t, STORY.recovered)), closed_at: reached(STORY.recovered),
    trigger: { kind: kind === "leak" ? "orphans" : "stall", slo: null, detail: "12 descriptors are still held 5 s after their requests ended" },
    times: { onset: [wall(STORY.onset), wall(STORY.onset + 2)], suspected: named ? wall(STORY.suspected) : null, detected: wall(STORY.detected), named: reached(STORY.named),
      mitigated: reached(STORY.limited + 1), recovered: reached(STORY.recovered) },
    what_changed: named ? ["fault tempfile_fd_leak switched on 4 s before the onset"] : [],
    verdict: named ? "named" : "unknown", causes: named ? causes : [{ ...causes[0], confidence: 0.41 }],
    actions: [
      t >= STORY.limited ? { ...limit, at: wall(STORY.limited), change: "limit none -> 26", expires_at: wall(STORY.limited + 60) } : null,
      t >= STORY.ended + 10 ? { ...limit, at: wall(STORY.ended + 10), change: "limit 26 -> 40", expires_at: null, reason: "recovering" } : null,
      t >= STORY.recovered ? { ...limit, at: wall(STORY.recovered), change: "released", expires_at: null, reason: "recovered" } : null,
    ].filter((action) => action !== null),
  };
}

export const PROBES = [
  { name: "fd", tier: "full", reason: "", remedy: "", events: 48211, lost: 0, ns_per_event: 812.4 },
  { name: "tcp", tier: "full", reason: "", remedy: "", events: 17, lost: 0, ns_per_event: 640.1 },
  { name: "epoll", tier: "full", reason: "", remedy: "", events: 201994, lost: 0, ns_per_event: 241.7 },
  { name: "memory", tier: "reduced", reason: "the tracepoint kmem:rss_stat is missing", remedy: "a kernel with CONFIG_MEMCG; /proc serves meanwhile",
    events: 310, lost: 0, ns_per_event: null },
];

/** What a hostile or broken peer might send: none of it may reach the page as markup or stop it. */
export const HOSTILE = [
  "event: sample\ndata: {not json\n\n",
  "event: sample\ndata: [1,2,3]\n\n",
  `event: sample\ndata: {"at":"never","targets":[]}\n\n`,
  `event: incident\ndata: {"id":"x","opened_at":"2026-01-01T00:00:00Z","target":{"name":"<img src=x onerror=alert(1)>","pid":-4},` +
    `"trigger":{"detail":"<script>alert(1)</script>"},"causes":[{"kind":"<b>k</b>","title":"<svg onload=alert(1)>","confidence":1e999,` +
    `"trace_ids":[{"a":1},"<i>"],"site":{"frames":["<style>*{display:none}</style>"]}}],"actions":"no"}\n\n`,
];
