// The signals, one entry a panel: which columns, how they are drawn, and what the gutter beside the plot reads.

import { bytes, count, duration, eta, percent } from "../format";
import type { Column } from "../ring";
import type { Target } from "../store";

export interface Line {
  column: Column;
  label: string;
  /** Custom property that holds the colour. */
  colour: string;
  shape: "line" | "area" | "dashed" | "bars";
}

/** What stands in large type beside a plot, and below it. */
export interface Reading {
  value: string;
  note: string;
  tone: "plain" | "warn" | "bad";
  /** Why there is nothing to draw, and what would help; null when there is. */
  absent: string | null;
}

export interface Panel {
  id: string;
  title: string;
  lines: Line[];
  format: (value: number) => string;
  /** The smallest top of the y axis, so that noise near zero does not fill the panel. */
  floor: number;
  /** The y axis never goes higher. */
  ceiling?: number;
  binary?: boolean;
  /** Moments in which this column is above zero get a tick at the upper edge. */
  ticks?: Column;
  /** Draws the forecast of the descriptors. */
  forecast?: boolean;
  read: (target: Target, drawn: boolean) => Reading;
}

const plain = (value: string, note = ""): Reading => ({ value, note, tone: "plain", absent: null });
const absent = (why: string): Reading => ({ value: "–", note: "", tone: "plain", absent: why });

const whole = (value: number): string => count(Math.round(value));

export const PANELS: Panel[] = [
  {
    id: "fds",
    title: "File descriptors",
    lines: [
      { column: "live", label: "open", colour: "--series-a", shape: "area" },
      { column: "orphaned", label: "orphaned", colour: "--bad", shape: "area" },
    ],
    format: whole,
    floor: 8,
    forecast: true,
    read: ({ latest: { fds } }) => {
      const used = fds.limit === null || fds.limit === 0 ? null : fds.live / fds.limit;
      const limit = fds.limit === null ? "limit unknown" : `of ${count(fds.limit)}`;
      const note = fds.eta_seconds === null ? limit : `${limit}, out in ${eta(fds.eta_seconds)}`;
      const tone = fds.eta_seconds !== null || (used ?? 0) > 0.8 ? "bad" : fds.orphaned > 0 ? "warn" : "plain";
      return { value: count(fds.live), note, tone, absent: null };
    },
  },
  {
    id: "loops",
    title: "Event loops",
    lines: [
      { column: "busyMax", label: "busiest", colour: "--series-a", shape: "line" },
      { column: "busyMean", label: "mean", colour: "--series-b", shape: "line" },
    ],
    format: percent,
    floor: 1,
    ceiling: 1,
    ticks: "stalls",
    read: ({ latest: { loops, stalls_total: stalls } }) => {
      const busiest = loops.reduce<(typeof loops)[number] | null>(
        (best, loop) => (best === null || loop.busy_ratio > best.busy_ratio ? loop : best), null);
      if (busiest === null && stalls === 0) return absent("No thread has waited on epoll yet.");
      const note = `${stalls === 0 ? "no" : count(stalls)} ${stalls === 1 ? "stall" : "stalls"}`;
      const value = busiest === null ? "–" : percent(busiest.busy_ratio);
      const threads = loops.length === 0 ? "" : `, ${loops.length} ${loops.length === 1 ? "thread" : "threads"}`;
      return { value, note: note + threads, tone: (busiest?.busy_ratio ?? 0) > 0.9 ? "warn" : "plain", absent: null };
    },
  },
  {
    id: "latency",
    title: "First byte",
    lines: [
      { column: "p99", label: "p99", colour: "--series-a", shape: "line" },
      { column: "p50", label: "p50", colour: "--series-b", shape: "line" },
    ],
    format: duration,
    floor: 0.01,
    read: ({ latest: { latency_seconds: latency } }, drawn) => {
      if (latency === null) {
        return !drawn
          ? absent("No request has ended. Spans arrive by OTLP on 127.0.0.1:4317 or 4318.")
          : plain("–", "no request in this window");
      }
      return plain(duration(latency.p99), `p99; p50 ${duration(latency.p50)}`);
    },
  },
  {
    id: "requests",
    title: "In flight",
    lines: [
      { column: "inFlight", label: "requests", colour: "--series-a", shape: "area" },
      { column: "limit", label: "limit", colour: "--act", shape: "dashed" },
    ],
    format: whole,
    floor: 4,
    read: ({ latest, requestRate, breaker }) => {
      const rate = requestRate === null ? "" : `${count(Math.round(requestRate * 10) / 10)} ended/s`;
      if (latest.in_flight === null) {
        const ended = latest.requests_total === 0 ? "" : ` ${count(latest.requests_total)} requests have ended.`;
        return absent(`Told by services that link snowshed-guard.${ended}`);
      }
      const would = breaker?.dry_run === true && breaker.limit !== null ? `would limit to ${count(breaker.limit)}` : "no limit";
      const note = [latest.limit === null ? would : `limit ${count(latest.limit)}`, rate].filter((part) => part !== "").join(", ");
      return { value: count(latest.in_flight), note, tone: latest.limit === null ? "plain" : "warn", absent: null };
    },
  },
  {
    id: "memory",
    title: "Memory",
    lines: [
      { column: "rss", label: "resident", colour: "--series-b", shape: "line" },
      { column: "rssAnon", label: "anonymous", colour: "--series-a", shape: "area" },
    ],
    format: bytes,
    floor: 1 << 20,
    binary: true,
    read: ({ latest: { rss_bytes: rss, threads } }) => {
      if (rss.anon === null) return absent("Resident memory cannot be read.");
      const note = [rss.file === null ? "" : `+ ${bytes(rss.file)} file`, threads === null ? "" : `${threads} threads`];
      return plain(bytes(rss.anon), note.filter((part) => part !== "").join(", "));
    },
  },
  {
    id: "retransmits",
    title: "TCP retransmits",
    lines: [{ column: "retransmits", label: "segments/s", colour: "--warn", shape: "bars" }],
    format: whole,
    floor: 4,
    read: ({ latest: { retransmits_total: total } }) => plain(count(total), total === 0 ? "none seen" : "since it is watched"),
  },
];
