// What the agent sends, exactly. The workbench reads three addresses and nothing else:
//
//   GET /api/v1/stream      SSE. `event: sample` (JSON: Sample) once a second, `event: incident` (JSON: Incident, the
//                           public record, whole) whenever one opens, changes or closes. Events carry ids. After
//                           connecting the agent may first replay up to 15 min of samples, oldest first; a sample that
//                           is not newer than the last one is ignored.
//   GET /api/v1/incidents   {"schema":1,"items":[Incident…],"next":null}, read once after each (re)connect.
//   GET /api/v1/status      Status, read after each connect and every 10 s.
//
// Besides these the agent serves /, /app.js and /app.css with `Content-Security-Policy: default-src 'self'`, and answers
// /favicon.ico with 204 (browsers ask for it unasked, and log a 404 as an error).
//
// Times are RFC 3339, durations seconds, sizes bytes. `null` means unknown or none; a missing key counts as `null`.
// Everything passes through decode.ts first: these types are what is left after that, not what is hoped for.

/** `event: sample`. */
export interface Sample {
  /** When it was taken. */
  at: string;
  targets: TargetSample[];
  slos: SloSample[];
  breakers: BreakerSample[];
  /** The agent's own cost. */
  agent: AgentSample;
}

export interface TargetSample {
  pid: number;
  name: string;
  started_at: string | null;
  fds: {
    live: number;
    orphaned: number;
    limit: number | null;
    /** Earliest and latest exhaustion, seconds from `at`. */
    eta_seconds: [number, number] | null;
  };
  rss_bytes: { anon: number | null; file: number | null };
  threads: number | null;
  loops: { tid: number; busy_ratio: number; waits_per_second: number }[];
  stalls_total: number;
  retransmits_total: number;
  requests_total: number;
  /** To the first byte, over the last 15 s window. */
  latency_seconds: { p50: number; p99: number } | null;
  in_flight: number | null;
  /** The concurrency limit in force at the service. */
  limit: number | null;
  /** What may be wrong with it, if it lasts. */
  suspected: Suspicion | null;
}

export interface Suspicion {
  since: string | null;
  /** The likeliest. */
  cause: Cause;
}

export type SloState = "insufficient_data" | "ok" | "violated" | "burning";

export interface SloSample {
  name: string;
  service: string;
  /** As in 0.99. */
  target: number;
  state: SloState;
  /** Good share of the last complete window. */
  ratio: number | null;
  window_requests: number;
  /** Violated windows in a row. */
  violations: number;
  budget_used: number | null;
}

export interface BreakerSample {
  pid: number;
  /** `closed`, `limited` or `recovering`. */
  state: string;
  limit: number | null;
  reason: string;
  dry_run: boolean;
  expires_at: string | null;
}

export interface AgentSample {
  cpu_seconds_total: number | null;
  rss_bytes: number | null;
}

/** `GET /api/v1/status`. */
export interface Status {
  probes: ProbeStatus[];
}

export type Tier = "full" | "reduced" | "off";

export interface ProbeStatus {
  name: string;
  tier: Tier;
  reason: string;
  remedy: string;
  events: number;
  lost: number;
  ns_per_event: number | null;
}

export type Severity = "page" | "ticket" | "info";

/** The public record of an incident. */
export interface Incident {
  id: string;
  /** Also: other processes of the same service in which the same goes on. */
  target: { name: string; pid: number; also_pids: number[] };
  severity: Severity;
  opened_at: string;
  updated_at: string | null;
  closed_at: string | null;
  trigger: { kind: string; slo: string | null; detail: string };
  times: {
    onset: [string, string] | null;
    /** Since when the cause that was named first had been suspected. */
    suspected: string | null;
    detected: string | null;
    named: string | null;
    mitigated: string | null;
    recovered: string | null;
  };
  what_changed: string[];
  verdict: "named" | "unknown";
  /** Likeliest first. */
  causes: Cause[];
  actions: Action[];
}

export interface Cause {
  kind: string;
  /** 0 to 1. */
  confidence: number;
  title: string;
  /** `own`: numbers of the frames that are likely the program's own, first where to begin to read. */
  site: { frames: string[]; own: number[] } | null;
  thread: { tid: number; name: string } | null;
  connection: { local: string; peer: string } | null;
  trace_ids: string[];
  evidence: Evidence[];
  forecast: Forecast | null;
}

export interface Evidence {
  layer: string;
  signal: string;
  before: number | null;
  after: number | null;
  unit: string;
  n: number;
  join: string;
  ambiguity: number;
}

export interface Forecast {
  resource: string;
  level: number;
  limit: number;
  /** Earliest and latest, seconds from the incident's last update. */
  eta_seconds: [number, number] | null;
}

export interface Action {
  at: string;
  actuator: string;
  /** As in `limit 200 -> 60`. */
  change: string;
  reason: string;
  dry_run: boolean;
  expires_at: string | null;
}
