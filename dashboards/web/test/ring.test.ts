import { describe, expect, it } from "vitest";
import { COLUMNS, Ring, type Row } from "../src/ring";

function row(t: number, live: number | null): Row {
  const empty = Object.fromEntries(COLUMNS.map((name) => [name, null])) as Row;
  return { ...empty, t, live };
}

describe("ring", () => {
  it("keeps the newest rows in order, and no more than its capacity", () => {
    const ring = new Ring(4);
    for (let t = 1; t <= 9; t += 1) ring.push(row(t, t * 10));
    expect(ring.length).toBe(4);
    expect(ring.read(["t", "live"])).toEqual([[6, 7, 8, 9], [60, 70, 80, 90]]);
    expect([ring.oldest, ring.newest]).toEqual([6, 9]);
  });

  it("refuses rows that are not newer", () => {
    const ring = new Ring(4);
    expect(ring.push(row(5, 1))).toBe(true);
    expect([ring.push(row(5, 2)), ring.push(row(4, 2)), ring.push({ ...row(0, 2), t: null })]).toEqual([false, false, false]);
    expect(ring.read(["live"])).toEqual([[1]]);
  });

  it("reads unknown as null, and parts what lies far apart", () => {
    const ring = new Ring(8);
    ring.push(row(1, 3));
    ring.push(row(2, null));
    ring.push(row(30, 4));
    expect(ring.read(["t", "live"])).toEqual([[1, 2, 16, 30], [3, null, null, 4]]);
  });

  it("cuts at the time asked for", () => {
    const ring = new Ring(8);
    for (let t = 1; t <= 5; t += 1) ring.push(row(t, t));
    expect(ring.read(["t"], 4)).toEqual([[4, 5]]);
    expect(new Ring(3).read(["t"])).toEqual([[]]);
  });
});
