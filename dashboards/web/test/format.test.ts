import { describe, expect, it } from "vitest";
import { age, bytes, clock, count, duration, eta, measured, percent } from "../src/format";

describe("format", () => {
  it("writes counts with separators and short forms", () => {
    expect([0, 7, 1024, 999_999, 1_048_576, 0.25, -3, 2.5e9].map(count)).toEqual(
      ["0", "7", "1,024", "999,999", "1.05 M", "0.25", "-3", "2.5 G"]);
  });

  it("writes bytes in binary multiples", () => {
    expect([0, 1023, 1024, 23_488_102, 3 * 2 ** 40].map(bytes)).toEqual(["0 B", "1023 B", "1 KiB", "22.4 MiB", "3 TiB"]);
  });

  it("picks the unit of a duration by its size", () => {
    expect([0, 4.8e-4, 0.0123, 0.35, 4.2, 59.96, 200, 3600, 7500, 86_400 * 3 + 4 * 3600].map(duration)).toEqual(
      ["0 s", "480 µs", "12.3 ms", "350 ms", "4.2 s", "1 min", "3 min 20 s", "1 h", "2 h 5 min", "3 d 4 h"]);
  });

  it("says when a resource runs out as an interval", () => {
    expect(eta([240, 360])).toBe("4 to 6 min");
    expect(eta([50, 240])).toBe("50 s to 4 min");
    expect(eta([91, 102])).toBe("91 to 102 s");
    expect(eta([60, 60.2])).toBe("60 s");
    expect(eta([7200, 400_000])).toBe("2 h to 5 d");
  });

  it("never rounds a share to 100 that is not", () => {
    expect([1, 0.9996, 0.998, 0.95, 0.8124, 0.063, 0.00012, 0].map(percent)).toEqual(
      ["100 %", "99.96 %", "99.8 %", "95 %", "81 %", "6.3 %", "0 %", "0 %"]);
    expect(percent(0.99996)).toBe("99.996 %");
  });

  it("keeps to one unit for ages, and to local time for clocks", () => {
    expect([-5, 42.4, 119, 7260, 200_000].map(age)).toEqual(["0 s", "42 s", "1 min", "2 h", "2 d"]);
    expect(clock(new Date(2026, 0, 2, 3, 4, 5).getTime())).toBe("03:04:05");
  });

  it("writes measured values by their unit", () => {
    expect(measured(null, "fds")).toBe("–");
    expect(measured(0.25, "s")).toBe("250 ms");
    expect(measured(2048, "bytes")).toBe("2 KiB");
    expect(measured(87, "fds")).toBe("87 fds");
  });
});
