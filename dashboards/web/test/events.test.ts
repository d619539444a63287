import { describe, expect, it } from "vitest";
import * as decode from "../src/decode";
import { arrange, marks, periods, responseClock } from "../src/events";
import { showLimit, splits, timeRange, top } from "../src/plot/range";

const at = (second: number): string => new Date(second * 1000).toISOString();

function story(more: object = {}) {
  const decoded = decode.incident({
    id: "a", target: { pid: 7 }, opened_at: at(104), causes: [{ kind: "fd_leak" }],
    times: { onset: [at(100), at(102)], detected: at(104), named: at(106) },
    actions: [{ at: at(108), change: "limit 200 -> 60", dry_run: true }], ...more,
  });
  if (decoded === null) throw new Error("not an incident");
  return decoded;
}

describe("marks", () => {
  it("name the moments of one target's incidents in order", () => {
    expect(marks([story()], 7).map(({ t, label }) => [t, label])).toEqual(
      [[100, "onset"], [104, "detected"], [106, "named: fd leak"], [108, "limit 200 → 60 (dry run)"]]);
    expect(marks([story()], 8)).toEqual([]);
  });

  it("shade from the onset to the end, or on", () => {
    expect(periods([story()], 7)).toEqual([{ from: 100, to: null }]);
    expect(periods([story({ closed_at: at(120) })], 7)).toEqual([{ from: 100, to: 120 }]);
  });

  it("give labels rows in which none collide", () => {
    expect(arrange(marks([story()], 7), (mark) => mark.t, () => 3, 2).map((mark) => mark.row)).toEqual([0, 0, 1, -1]);
    const placed = arrange(marks([story()], 7), (mark) => mark.t, () => 5, 2);
    expect(placed.map((mark) => mark.row)).toEqual([0, 1, -1, -1]);
  });
});

describe("response clock", () => {
  it("counts from the earliest possible onset, and leaves open what has not happened", () => {
    expect(responseClock(story()).map(({ name, after }) => [name, after])).toEqual(
      [["onset", 0], ["detected", 4], ["named", 6], ["mitigated", null], ["recovered", null]]);
  });

  it("tells since when the cause was suspected, where it was", () => {
    const i = story({ times: { onset: [at(100), at(102)], suspected: at(103), detected: at(104) } });
    expect(responseClock(i).map(({ name, after }) => [name, after]).slice(0, 3)).toEqual([["onset", 0], ["suspected", 3], ["detected", 4]]);
  });
});

describe("axes", () => {
  it("end at round values above the data", () => {
    expect([0, 7.9, 45, 97, 224, 1180].map((max) => top(max, { floor: 4 }))).toEqual([4, 10, 50, 120, 240, 1600]);
    expect(top(0.99, { floor: 1, ceiling: 1 })).toBe(1);
    expect(top(181e6, { floor: 1, binary: true })).toBe(192 * 2 ** 20);
    expect(splits(10, null)).toEqual([0, 5, 10]);
    expect(splits(1200, 1024)).toEqual([0, 512, 1024]);
  });

  it("show the limit when it matters", () => {
    expect([showLimit(30, 1_048_576, [60, 90]), showLimit(400, 1024, null), showLimit(150, 1024, [60, 90]), showLimit(5, null, null)])
      .toEqual([false, true, true, false]);
  });

  it("begin with the data and reach into the forecast", () => {
    expect(timeRange(1000, 300, 990, null)).toEqual([940, 1000]);
    expect(timeRange(1000, 300, 0, null)).toEqual([700, 1000]);
    expect(timeRange(1000, 200, 0, [500, 900])).toEqual([800, 1050]);
  });
});
