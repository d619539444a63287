import { describe, expect, it } from "vitest";
import type { Incident, Sample } from "../src/api";
import * as decode from "../src/decode";
import { Store } from "../src/store";
import { backoff } from "../src/stream";

const at = (second: number): string => new Date(Date.UTC(2026, 2, 1) + second * 1000).toISOString();

function sample(second: number, ...targets: object[]): Sample {
  const decoded = decode.sample({ at: at(second), targets, agent: { cpu_seconds_total: second * 0.01, rss_bytes: 1 } });
  if (decoded === null) throw new Error("not a sample");
  return decoded;
}

function incident(id: string, opened: number, more: object = {}): Incident {
  const decoded = decode.incident({ id, opened_at: at(opened), updated_at: at(opened), ...more });
  if (decoded === null) throw new Error("not an incident");
  return decoded;
}

describe("store", () => {
  it("turns counters into rises, and a restarted counter into none", () => {
    const store = new Store();
    for (const [second, total] of [[1, 100], [2, 103], [3, 1], [4, 2]] as const) store.apply(sample(second, { pid: 1, stalls_total: total }));
    expect(store.targets.get(1)?.ring.read(["stalls"])).toEqual([[0, 3, 0, 1]]);
  });

  it("ignores samples that are not newer", () => {
    const store = new Store();
    expect([store.apply(sample(2)), store.apply(sample(2)), store.apply(sample(1)), store.apply(sample(3))]).toEqual([true, false, false, true]);
  });

  it("begins anew when a pid is used again", () => {
    const store = new Store();
    store.apply(sample(1, { pid: 1, started_at: at(0) }));
    store.apply(sample(2, { pid: 1, started_at: at(1) }));
    expect(store.targets.get(1)?.ring.length).toBe(1);
  });

  it("knows what the breaker would do, and forgets it", () => {
    const store = new Store();
    const limited = decode.sample({ at: at(1), targets: [{ pid: 1 }], breakers: [{ pid: 1, state: "limited", limit: 4, dry_run: true }] });
    if (limited !== null) store.apply(limited);
    expect(store.targets.get(1)?.breaker).toMatchObject({ limit: 4, dry_run: true });
    store.apply(sample(2, { pid: 1 }));
    expect(store.targets.get(1)?.breaker).toBeNull();
  });

  it("tells what is suspected of those that are there", () => {
    const store = new Store();
    const suspected = { since: at(1), causes: [{ kind: "disk_stall", confidence: 0.8 }] };
    store.apply(sample(1, { pid: 2, name: "b", suspected }, { pid: 1, name: "a", suspected }, { pid: 3 }));
    expect(store.suspects().map(({ name, pid }) => [name, pid])).toEqual([["a", 1], ["b", 2]]);
    store.apply(sample(2, { pid: 1, name: "a" }));
    expect(store.suspects()).toEqual([]);
  });

  it("keeps a target that is gone for a while, then forgets it", () => {
    const store = new Store();
    store.apply(sample(1, { pid: 1 }));
    store.apply(sample(100));
    expect(store.targets.size).toBe(1);
    store.apply(sample(1000));
    expect(store.targets.size).toBe(0);
  });

  it("holds at most 64 targets, the living before the gone", () => {
    const store = new Store();
    store.apply(sample(1, ...Array.from({ length: 64 }, (_, pid) => ({ pid: pid + 1 }))));
    store.apply(sample(2, { pid: 500 }));
    expect(store.targets.size).toBe(64);
    expect(store.targets.has(500)).toBe(true);
  });

  it("tells the agent's share of a core", () => {
    const store = new Store();
    for (let second = 1; second <= 12; second += 1) store.apply(sample(second));
    expect(store.agentCpu).toBeCloseTo(0.01, 6);
  });

  it("puts open incidents first and holds at most 100", () => {
    const store = new Store();
    expect(store.applyIncident(incident("open", 1))).toBe(true);
    expect(store.applyIncident(incident("open", 1))).toBe(false);
    for (let n = 0; n < 200; n += 1) store.applyIncident(incident(`closed${n}`, 10 + n, { closed_at: at(300 + n) }));
    expect(store.incidents()).toHaveLength(100);
    expect(store.incidents()[0]?.id).toBe("open");
    expect(store.incidents()[1]?.id).toBe("closed199");
  });

  it("does not go back to an older version of an incident", () => {
    const store = new Store();
    store.applyIncident(incident("a", 1, { updated_at: at(9), verdict: "named" }));
    store.applyIncident(incident("a", 1, { updated_at: at(5), verdict: "unknown" }));
    expect(store.incidents()[0]?.verdict).toBe("named");
  });
});

describe("backoff", () => {
  it("doubles up to ten seconds, spread by a quarter", () => {
    expect([0, 1, 2, 3, 4, 50].map((attempt) => backoff(attempt, 0.5))).toEqual([1000, 2000, 4000, 8000, 10_000, 10_000]);
    expect([backoff(0, 0), backoff(0, 1)]).toEqual([750, 1250]);
  });
});
