// Everything the page knows. Bounded: 64 targets of 15 min each, 100 incidents. A target that is gone stays visible until
// its last sample leaves the window.

import type { AgentSample, BreakerSample, Incident, ProbeStatus, Sample, SloSample, Suspicion, TargetSample } from "./api";
import { CAPACITY, Ring, type Row } from "./ring";

const MAX_TARGETS = 64;
const MAX_INCIDENTS = 100;

export interface Target {
  latest: TargetSample;
  ring: Ring;
  /** Seconds of the last sample that had it. */
  seen: number;
  /** Requests per second over the last step. */
  requestRate: number | null;
  /** Its breaker, where one has acted or would have. */
  breaker: BreakerSample | null;
}

/** A suspicion, and of which process. */
export interface Suspect {
  name: string;
  pid: number;
  suspicion: Suspicion;
}

export class Store {
  readonly targets = new Map<number, Target>();
  private readonly byId = new Map<string, Incident>();
  slos: SloSample[] = [];
  probes: ProbeStatus[] = [];
  /** Time of the last sample, seconds; null before the first. */
  at: number | null = null;
  agentRss: number | null = null;
  /** Share of one core. */
  agentCpu: number | null = null;
  private agentBefore: { at: number; cpu: number } | null = null;

  /** Takes a sample in; one that is not newer than the last is ignored. */
  apply(sample: Sample): boolean {
    const at = Date.parse(sample.at) / 1000;
    if (this.at !== null && at <= this.at) return false;
    this.at = at;
    this.slos = sample.slos;
    this.account(at, sample.agent);
    for (const target of sample.targets) this.applyTarget(at, target);
    for (const target of this.targets.values()) {
      target.breaker = sample.breakers.find((breaker) => breaker.pid === target.latest.pid) ?? null;
    }
    for (const [pid, target] of this.targets) if (at - target.seen > CAPACITY) this.targets.delete(pid);
    return true;
  }

  private applyTarget(at: number, sample: TargetSample): void {
    let target = this.targets.get(sample.pid);
    if (target === undefined || target.latest.started_at !== sample.started_at) {
      if (target === undefined && this.targets.size >= MAX_TARGETS && !this.forgetGone(at)) return;
      target = { latest: sample, ring: new Ring(), seen: at, requestRate: null, breaker: null };
      this.targets.set(sample.pid, target);
    }
    const row = rowOf(at, sample, target.latest);
    const step = at - target.seen;
    target.requestRate = step > 0 && row.requests !== null ? row.requests / step : target.requestRate;
    target.latest = sample;
    target.seen = at;
    target.ring.push(row);
  }

  private forgetGone(at: number): boolean {
    for (const [pid, target] of this.targets) if (target.seen < at) return this.targets.delete(pid);
    return false;
  }

  private account(at: number, agent: AgentSample): void {
    this.agentRss = agent.rss_bytes;
    if (agent.cpu_seconds_total === null) return;
    const before = this.agentBefore;
    if (before === null || agent.cpu_seconds_total < before.cpu) {
      this.agentBefore = { at, cpu: agent.cpu_seconds_total };
    } else if (at - before.at >= 5) {
      this.agentCpu = (agent.cpu_seconds_total - before.cpu) / (at - before.at);
      this.agentBefore = { at, cpu: agent.cpu_seconds_total };
    }
  }

  /** Takes an incident in; true if it was not known. An older version of a known one is ignored. */
  applyIncident(incident: Incident): boolean {
    const known = this.byId.get(incident.id);
    if (known !== undefined && version(known) > version(incident)) return false;
    this.byId.set(incident.id, incident);
    if (this.byId.size > MAX_INCIDENTS) {
      const oldest = this.incidents().at(-1); // closed ones go first
      if (oldest !== undefined) this.byId.delete(oldest.id);
    }
    return known === undefined;
  }

  /** What is suspected of those that are there, by pid. */
  suspects(): Suspect[] {
    const there = [...this.targets.values()].filter((target) => target.seen === this.at);
    return there.sort((a, b) => a.latest.pid - b.latest.pid).flatMap(({ latest: { name, pid, suspected } }) =>
      suspected === null ? [] : [{ name, pid, suspicion: suspected }]);
  }

  /** Open ones first, then newest first. */
  incidents(): Incident[] {
    const rank = (i: Incident): number => (i.closed_at === null ? 1 : 0);
    return [...this.byId.values()].sort((a, b) => rank(b) - rank(a) || Date.parse(b.opened_at) - Date.parse(a.opened_at));
  }
}

function version(incident: Incident): number {
  return Date.parse(incident.closed_at ?? incident.updated_at ?? incident.opened_at);
}

/** How much a counter rose; a restart of the counter counts as no rise. */
function rise(now: number, before: number): number {
  return Math.max(0, now - before);
}

function rowOf(at: number, now: TargetSample, before: TargetSample): Row {
  const busy = now.loops.map((loop) => loop.busy_ratio);
  const { anon, file } = now.rss_bytes;
  return {
    t: at,
    live: now.fds.live,
    orphaned: now.fds.orphaned,
    fdLimit: now.fds.limit,
    busyMax: busy.length === 0 ? null : Math.max(...busy),
    busyMean: busy.length === 0 ? null : busy.reduce((sum, share) => sum + share, 0) / busy.length,
    stalls: rise(now.stalls_total, before.stalls_total),
    p50: now.latency_seconds?.p50 ?? null,
    p99: now.latency_seconds?.p99 ?? null,
    rssAnon: anon,
    rss: anon === null && file === null ? null : (anon ?? 0) + (file ?? 0),
    inFlight: now.in_flight,
    limit: now.limit,
    retransmits: rise(now.retransmits_total, before.retransmits_total),
    requests: rise(now.requests_total, before.requests_total),
  };
}
