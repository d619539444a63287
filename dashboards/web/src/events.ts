// Moments of incidents as marks on the time axis, and the five stops of the response clock. Pure.

import type { Incident } from "./api";

export type MarkKind = "onset" | "detected" | "named" | "action" | "recovered";

export interface Mark {
  /** Seconds. */
  t: number;
  kind: MarkKind;
  label: string;
}

export interface Period {
  from: number;
  /** null: goes on. */
  to: number | null;
}

const MAX_MARKS = 48;

const seconds = (time: string): number => Date.parse(time) / 1000;

/** What happened to one target, oldest first. */
export function marks(incidents: readonly Incident[], pid: number): Mark[] {
  const found: Mark[] = [];
  const add = (time: string | null | undefined, kind: MarkKind, label: string): void => {
    if (time != null) found.push({ t: seconds(time), kind, label });
  };
  for (const incident of incidents) {
    if (incident.target.pid !== pid) continue;
    add(incident.times.onset?.[0], "onset", "onset");
    add(incident.times.detected ?? incident.opened_at, "detected", "detected");
    add(incident.times.named, "named", `named: ${(incident.causes[0]?.kind ?? "cause").replaceAll("_", " ")}`);
    for (const action of incident.actions) {
      add(action.at, "action", `${action.change.replaceAll("->", "→")}${action.dry_run ? " (dry run)" : ""}`);
    }
    add(incident.times.recovered, "recovered", "recovered");
  }
  found.sort((a, b) => a.t - b.t);
  return found.slice(-MAX_MARKS);
}

/** When the target was in trouble. */
export function periods(incidents: readonly Incident[], pid: number): Period[] {
  return incidents
    .filter((incident) => incident.target.pid === pid)
    .map((incident) => {
      const end = incident.times.recovered ?? incident.closed_at;
      return { from: seconds(incident.times.onset?.[0] ?? incident.opened_at), to: end === null ? null : seconds(end) };
    });
}

export interface Stop {
  name: "onset" | "suspected" | "detected" | "named" | "mitigated" | "recovered";
  /** Seconds; null: not yet, or never. */
  t: number | null;
  /** Seconds since the earliest moment of the onset. */
  after: number | null;
}

/** The response clock. Counted from the earliest possible onset, which flatters nobody. */
export function responseClock(incident: Incident): Stop[] {
  const { onset, suspected, detected, named, mitigated, recovered } = incident.times;
  const start = onset === null ? null : seconds(onset[0]);
  const stop = (name: Stop["name"], time: string | null): Stop => {
    const t = time === null ? null : seconds(time);
    return { name, t, after: t === null || start === null ? null : Math.max(0, t - start) };
  };
  return [
    stop("onset", onset?.[0] ?? null),
    ...(suspected === null ? [] : [stop("suspected", suspected)]),
    stop("detected", detected),
    stop("named", named),
    stop("mitigated", mitigated),
    stop("recovered", recovered),
  ];
}

export interface Placed extends Mark {
  row: number;
}

/**
 * Gives each mark a row of labels in which it collides with none, and from which its stem reaches down through no other
 * label; marks that find no row get row -1 (a line without a label). `place` and `width` are pixels.
 */
export function arrange(
  all: readonly Mark[], place: (mark: Mark) => number, width: (mark: Mark) => number, rows: number,
): Placed[] {
  const ends = new Array<number>(rows).fill(-Infinity);
  return all.map((mark) => {
    const x = place(mark);
    const row = ends.findIndex((_, from) => ends.slice(from).every((end) => end <= x));
    if (row >= 0) ends[row] = x + width(mark);
    return { ...mark, row };
  });
}
