// Ranges of the axes. Pure.

import type { Panel } from "./panels";

/** Tops of an axis whose halves read well too, as multiples of a power of ten. */
const ROUND = [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10];

/** The top of a y axis that begins at 0: a round number a little above the data, `floor` at least. */
export function top(max: number, panel: Pick<Panel, "floor" | "ceiling" | "binary">): number {
  const wanted = Math.max(max * 1.04, panel.floor);
  return Math.min(round(wanted, panel.binary === true), panel.ceiling ?? Infinity);
}

function round(value: number, binary: boolean): number {
  if (binary) {
    const unit = 2 ** Math.floor(Math.log2(value) - 1);
    return Math.ceil(value / unit) * unit;
  }
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * (ROUND.find((step) => step * unit >= value * (1 - 1e-9)) ?? 10);
}

/** Whether the limit belongs into the picture: when it comes close, or is being approached. */
export function showLimit(live: number, limit: number | null, eta: [number, number] | null): boolean {
  if (limit === null || limit === 0) return false;
  return live >= limit * 0.3 || (eta !== null && live >= limit * 0.1);
}

/** The time axis is never shorter, seconds. */
const SHORTEST = 60;

/**
 * Ends of the time axis: the window that ends at `at`, cut where the data begins, and a quarter of its length into the
 * future where there is a forecast.
 */
export function timeRange(
  at: number, window: number, oldest: number | null, eta: [number, number] | null,
): [number, number] {
  const past = Math.min(window, Math.max(SHORTEST, oldest === null ? 0 : at - oldest));
  return [at - past, at + (eta === null ? 0 : Math.min(eta[1] * 1.05, past / 4))];
}

/** Where a y axis is labelled: at its ends and in the middle, or, where a limit is drawn, at that and its half. */
export function splits(end: number, limit: number | null): number[] {
  const last = limit ?? end;
  return [0, last / 2, last];
}
