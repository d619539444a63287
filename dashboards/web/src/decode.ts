// Turns whatever arrived into the shapes of api.ts, or null. Invariant: what leaves here has the declared types, finite
// numbers, bounded texts and bounded lists, whatever was sent. Nothing here throws, except `parse` on what is not JSON.
import type {
  Action, AgentSample, BreakerSample, Cause, Evidence, Forecast, Incident, ProbeStatus, Sample, Severity, SloSample, SloState,
  Status, Suspicion, TargetSample, Tier,
} from "./api";

const MAX_TEXT = 2000;
const MAX_TARGETS = 64;
const MAX_LIST = 64;

type Fields = Record<string, unknown>;

function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

function text(value: unknown, fallback = ""): string {
  return typeof value === "string" ? value.slice(0, MAX_TEXT) : fallback;
}

function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** Counters and sizes: never negative. */
function amount(value: unknown): number | null {
  const n = number(value);
  return n === null || n < 0 ? null : n;
}

function time(value: unknown): string | null {
  return typeof value === "string" && value.length <= 64 && !Number.isNaN(Date.parse(value)) ? value : null;
}

function list<T>(value: unknown, item: (value: unknown) => T | null, max = MAX_LIST): T[] {
  if (!Array.isArray(value)) return [];
  const found: T[] = [];
  for (const entry of value.slice(0, max)) {
    const decoded = item(entry);
    if (decoded !== null) found.push(decoded);
  }
  return found;
}

function oneOf<T extends string>(value: unknown, known: readonly T[], fallback: T): T {
  return known.includes(value as T) ? (value as T) : fallback;
}

function nonEmpty(value: unknown): string | null {
  return text(value) || null;
}

function span(value: unknown): [number, number] | null {
  if (!Array.isArray(value)) return null;
  const [from, to] = [amount(value[0]), amount(value[1])];
  return from === null || to === null ? null : [Math.min(from, to), Math.max(from, to)];
}

function target(value: unknown): TargetSample | null {
  const t = fields(value);
  const pid = amount(t["pid"]);
  if (pid === null) return null;
  const [fds, rss, latency] = [fields(t["fds"]), fields(t["rss_bytes"]), fields(t["latency_seconds"])];
  const [p50, p99] = [amount(latency["p50"]), amount(latency["p99"])];
  return {
    pid,
    name: text(t["name"], "?"),
    started_at: time(t["started_at"]),
    fds: {
      live: amount(fds["live"]) ?? 0,
      orphaned: amount(fds["orphaned"]) ?? 0,
      limit: amount(fds["limit"]),
      eta_seconds: span(fds["eta_seconds"]),
    },
    rss_bytes: { anon: amount(rss["anon"]), file: amount(rss["file"]) },
    threads: amount(t["threads"]),
    loops: list(t["loops"], (entry) => {
      const l = fields(entry);
      const [tid, busy] = [amount(l["tid"]), amount(l["busy_ratio"])];
      if (tid === null || busy === null) return null;
      return { tid, busy_ratio: Math.min(busy, 1), waits_per_second: amount(l["waits_per_second"]) ?? 0 };
    }),
    stalls_total: amount(t["stalls_total"]) ?? 0,
    retransmits_total: amount(t["retransmits_total"]) ?? 0,
    requests_total: amount(t["requests_total"]) ?? 0,
    latency_seconds: p50 === null || p99 === null ? null : { p50, p99 },
    in_flight: amount(t["in_flight"]),
    limit: amount(t["limit"]),
    suspected: suspicion(t["suspected"]),
  };
}

function suspicion(value: unknown): Suspicion | null {
  const s = fields(value);
  const [first] = list(s["causes"], cause, 1);
  return first === undefined ? null : { since: time(s["since"]), cause: first };
}

const SLO_STATES: readonly SloState[] = ["insufficient_data", "ok", "violated", "burning"];

function slo(value: unknown): SloSample | null {
  const s = fields(value);
  const name = nonEmpty(s["name"]);
  if (name === null) return null;
  return {
    name,
    service: text(s["service"]),
    target: amount(s["target"]) ?? 0,
    state: oneOf(s["state"], SLO_STATES, "insufficient_data"),
    ratio: amount(s["ratio"]),
    window_requests: amount(s["window_requests"]) ?? 0,
    violations: amount(s["violations"]) ?? 0,
    budget_used: amount(s["budget_used"]),
  };
}

function breaker(value: unknown): BreakerSample | null {
  const b = fields(value);
  const pid = amount(b["pid"]);
  if (pid === null) return null;
  return {
    pid,
    state: text(b["state"]),
    limit: amount(b["limit"]),
    reason: text(b["reason"]),
    dry_run: b["dry_run"] === true,
    expires_at: time(b["expires_at"]),
  };
}

function agent(value: unknown): AgentSample {
  const a = fields(value);
  return { cpu_seconds_total: amount(a["cpu_seconds_total"]), rss_bytes: amount(a["rss_bytes"]) };
}

/** A sample, or null without a time of its own. */
export function sample(value: unknown): Sample | null {
  const s = fields(value);
  const at = time(s["at"]);
  if (at === null) return null;
  return {
    at,
    targets: list(s["targets"], target, MAX_TARGETS),
    slos: list(s["slos"], slo),
    breakers: list(s["breakers"], breaker),
    agent: agent(s["agent"]),
  };
}

const TIERS: readonly Tier[] = ["full", "reduced", "off"];

function probe(value: unknown): ProbeStatus | null {
  const p = fields(value);
  const name = nonEmpty(p["name"]);
  if (name === null) return null;
  return {
    name,
    tier: oneOf(p["tier"], TIERS, "off"),
    reason: text(p["reason"]),
    remedy: text(p["remedy"]),
    events: amount(p["events"]) ?? 0,
    lost: amount(p["lost"]) ?? 0,
    ns_per_event: amount(p["ns_per_event"]),
  };
}

/** The status; without probes if there are none in it. */
export function status(value: unknown): Status {
  return { probes: list(fields(value)["probes"], probe) };
}

function evidence(value: unknown): Evidence | null {
  const e = fields(value);
  const signal = nonEmpty(e["signal"]);
  if (signal === null) return null;
  return {
    layer: text(e["layer"]),
    signal,
    before: number(e["before"]),
    after: number(e["after"]),
    unit: text(e["unit"]),
    n: amount(e["n"]) ?? 0,
    join: text(e["join"], "none"),
    ambiguity: amount(e["ambiguity"]) ?? 1,
  };
}

function forecast(value: unknown): Forecast | null {
  const f = fields(value);
  const resource = nonEmpty(f["resource"]);
  if (resource === null) return null;
  return {
    resource,
    level: amount(f["level"]) ?? 0,
    limit: amount(f["limit"]) ?? 0,
    eta_seconds: span(f["eta_seconds"]),
  };
}

function cause(value: unknown): Cause | null {
  const c = fields(value);
  const kind = nonEmpty(c["kind"]);
  if (kind === null) return null;
  const [site, thread, connection] = [fields(c["site"]), fields(c["thread"]), fields(c["connection"])];
  const tid = amount(thread["tid"]);
  return {
    kind,
    confidence: Math.min(amount(c["confidence"]) ?? 0, 1),
    title: text(c["title"]),
    site: Array.isArray(site["frames"]) ? { frames: list(site["frames"], nonEmpty), own: list(site["own"], amount) } : null,
    thread: tid === null ? null : { tid, name: text(thread["name"]) },
    connection: "peer" in connection ? { local: text(connection["local"]), peer: text(connection["peer"]) } : null,
    trace_ids: list(c["trace_ids"], nonEmpty),
    evidence: list(c["evidence"], evidence),
    forecast: forecast(c["forecast"]),
  };
}

function action(value: unknown): Action | null {
  const a = fields(value);
  const at = time(a["at"]);
  if (at === null) return null;
  return {
    at,
    actuator: text(a["actuator"]),
    change: text(a["change"]),
    reason: text(a["reason"]),
    dry_run: a["dry_run"] === true,
    expires_at: time(a["expires_at"]),
  };
}

const SEVERITIES: readonly Severity[] = ["page", "ticket", "info"];

/** An incident, or null without an id or an opening time. */
export function incident(value: unknown): Incident | null {
  const i = fields(value);
  const id = nonEmpty(i["id"]);
  const opened = time(i["opened_at"]);
  if (id === null || opened === null) return null;
  const [where, trigger, times] = [fields(i["target"]), fields(i["trigger"]), fields(i["times"])];
  const onset = Array.isArray(times["onset"]) ? times["onset"] : [];
  const [from, to] = [time(onset[0]), time(onset[1])];
  return {
    id,
    target: { name: text(where["name"], "?"), pid: amount(where["pid"]) ?? 0, also_pids: list(where["also_pids"], amount, 16) },
    severity: oneOf(i["severity"], SEVERITIES, "info"),
    opened_at: opened,
    updated_at: time(i["updated_at"]),
    closed_at: time(i["closed_at"]),
    trigger: { kind: text(trigger["kind"]), slo: nonEmpty(trigger["slo"]), detail: text(trigger["detail"]) },
    times: {
      onset: from === null || to === null ? null : [from, to],
      suspected: time(times["suspected"]),
      detected: time(times["detected"]),
      named: time(times["named"]),
      mitigated: time(times["mitigated"]),
      recovered: time(times["recovered"]),
    },
    what_changed: list(i["what_changed"], nonEmpty),
    verdict: oneOf(i["verdict"], ["named", "unknown"] as const, "unknown"),
    causes: list(i["causes"], cause, 8),
    actions: list(i["actions"], action),
  };
}

/** The items of a list answer. */
export function incidents(value: unknown): Incident[] {
  return list(fields(value)["items"], incident, 100);
}

/** JSON, or undefined where it is none: one bad event must not end the stream. */
export function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
