import { describe, expect, it } from "vitest";
import * as decode from "../src/decode";

const AT = "2026-03-01T12:00:00Z";

describe("decoding of what a peer sends", () => {
  it.each([undefined, null, 7, "x", [], [1], { at: "never" }, { at: 5 }, { targets: [] }])("refuses %j as a sample", (value) => {
    expect(decode.sample(value)).toBeNull();
  });

  it("takes a sample in, with null for what is missing", () => {
    const sample = decode.sample({ at: AT, targets: [{ pid: 7, name: "svc", fds: { live: 3, eta_seconds: [9, 4] } }, "junk", { name: "no pid" }] });
    expect(sample?.targets).toEqual([{
      pid: 7, name: "svc", started_at: null, fds: { live: 3, orphaned: 0, limit: null, eta_seconds: [4, 9] },
      rss_bytes: { anon: null, file: null }, threads: null, loops: [], stalls_total: 0, retransmits_total: 0,
      requests_total: 0, latency_seconds: null, in_flight: null, limit: null, suspected: null,
    }]);
    expect(sample?.agent).toEqual({ cpu_seconds_total: null, rss_bytes: null });
  });

  it("lets no odd number through", () => {
    const target = { pid: 1, fds: { live: -4, limit: Infinity }, rss_bytes: { anon: "9", file: Number.NaN }, latency_seconds: { p50: 1 },
      loops: [{ tid: 1, busy_ratio: 3.5 }, { tid: 2 }] };
    const [decoded] = decode.sample({ at: AT, targets: [target] })?.targets ?? [];
    expect(decoded?.fds).toMatchObject({ live: 0, limit: null });
    expect(decoded?.rss_bytes).toEqual({ anon: null, file: null });
    expect(decoded?.latency_seconds).toBeNull();
    expect(decoded?.loops).toEqual([{ tid: 1, busy_ratio: 1, waits_per_second: 0 }]);
  });

  it("takes what is suspected in, unless it has no cause", () => {
    const of = (suspected: unknown) => decode.sample({ at: AT, targets: [{ pid: 1, suspected }] })?.targets[0]?.suspected;
    expect(of({ since: AT, causes: [{ kind: "disk_stall", confidence: 0.8 }, { kind: "x" }] })).toMatchObject({ cause: { kind: "disk_stall" } });
    expect([of({ since: AT, causes: [] }), of("junk"), of(null)]).toEqual([null, null, null]);
  });

  it("bounds lists and texts", () => {
    const targets = Array.from({ length: 5000 }, (_, pid) => ({ pid, name: "n".repeat(100_000) }));
    const sample = decode.sample({ at: AT, targets });
    expect(sample?.targets).toHaveLength(64);
    expect(sample?.targets[0]?.name).toHaveLength(2000);
    expect(decode.incidents({ items: Array.from({ length: 5000 }, (_, id) => ({ id: `i${id}`, opened_at: AT })) })).toHaveLength(100);
  });

  it("refuses an incident without identity or time", () => {
    expect(decode.incident({ id: "", opened_at: AT })).toBeNull();
    expect(decode.incident({ id: "a", opened_at: "soon" })).toBeNull();
    expect(decode.incidents("no list")).toEqual([]);
  });

  it("falls back to the quiet value for what it does not know", () => {
    const incident = decode.incident({
      id: "a", opened_at: AT, severity: "apocalypse", verdict: "certain", times: { onset: [AT] }, actions: "no",
      causes: [{ kind: "fd_leak", confidence: 1e9, trace_ids: [{}, "", "abc"], site: { frames: [1, "f (a.rs:1)"] }, evidence: [{ signal: "s", before: "0" }] }],
    });
    expect(incident).toMatchObject({ severity: "info", verdict: "unknown", actions: [], target: { name: "?", pid: 0, also_pids: [] } });
    expect(incident?.times.onset).toBeNull();
    expect(incident?.causes[0]).toMatchObject({ confidence: 1, trace_ids: ["abc"], site: { frames: ["f (a.rs:1)"] }, thread: null });
    expect(incident?.causes[0]?.evidence[0]).toMatchObject({ before: null, join: "none", ambiguity: 1 });
  });

  it("reads probes, and none from nonsense", () => {
    expect(decode.status({ probes: [{ name: "fd", tier: "full", events: 3 }, {}] }).probes).toHaveLength(1);
    expect(decode.status("no").probes).toEqual([]);
    expect(decode.status({ probes: [{ name: "fd", tier: "golden" }] }).probes[0]?.tier).toBe("off");
  });

  it("does not throw on text that is not JSON", () => {
    expect(decode.parse("{not json")).toBeUndefined();
    expect(decode.parse("[1]")).toEqual([1]);
  });
});
