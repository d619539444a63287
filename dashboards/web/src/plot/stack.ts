// The panels as one picture: the same time axis, one cursor through all of them, the same marks in all of them.
// Redrawn once a second from the ring; holds no data of its own.

import uPlot from "uplot";
import type { Mark, Period } from "../events";
import { fill, h, say } from "../dom";
import { clock, count } from "../format";
import type { Target } from "../store";
import { background, EMPTY, foreground, type Scene, type Theme } from "./draw";
import { Lane } from "./lane";
import { type Line, type Panel, PANELS } from "./panels";
import { showLimit, splits, timeRange, top } from "./range";

const SYNC = "signals";

interface Mounted {
  panel: Panel;
  plot: uPlot;
  value: HTMLElement;
  note: HTMLElement;
  absent: HTMLElement;
  root: HTMLElement;
  canvas: HTMLElement;
  readouts: HTMLElement[];
  scene: Scene;
  top: number;
}

export interface Picture {
  target: Target;
  at: number;
  marks: Mark[];
  periods: Period[];
  window: number;
}

export class Stack {
  readonly element: HTMLElement;
  private mounted: Mounted[] = [];
  private readonly lane: Lane;
  private readonly panels = h("div", { class: "panels" });
  private picture: Picture | null = null;
  private colours = new Map<string, string>();

  /** `head` stands beside the names of the marks. */
  constructor(head: HTMLElement) {
    this.lane = new Lane(head);
    this.element = h("div", {
      class: "stack", tabindex: 0, role: "group",
      "aria-label": "Signals over time. The left and right arrow keys move a cursor through all plots, Escape removes it.",
    }, this.lane.element, this.panels);
    this.element.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.resize()).observe(this.panels);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.colours.clear();
      this.rebuild();
    });
    this.rebuild();
  }

  show(picture: Picture): void {
    this.picture = picture;
    const { target, at, window, marks, periods } = picture;
    const eta = target.latest.fds.eta_seconds;
    const [min, max] = timeRange(at, window, target.ring.oldest, eta);
    for (const one of this.mounted) {
      const columns = one.panel.lines.map((line) => line.column);
      const ticks = one.panel.ticks;
      const data = target.ring.read(["t", ...columns, ...(ticks === undefined ? [] : [ticks])], min - 5);
      const times = (data[0] ?? []) as number[];
      const flagged = ticks === undefined ? [] : (data.pop() ?? []);
      const { fds } = target.latest;
      const limit = one.panel.forecast === true && showLimit(fds.live, fds.limit, eta) ? fds.limit : null;
      const peak = highest(data.slice(1));
      one.top = limit === null || peak > limit ? top(peak, one.panel) : limit * 1.12;
      one.scene = {
        at,
        marks,
        periods,
        ticks: times.filter((_, index) => (flagged[index] ?? 0) > 0),
        fds: limit === null ? null : { at: target.seen, live: fds.live, limit, eta },
      };
      one.plot.batch(() => {
        one.plot.setData(data as uPlot.AlignedData, false);
        one.plot.setScale("x", { min, max });
        one.plot.setScale("y", { min: 0, max: one.top });
      });
      const reading = one.panel.read(target, peak > 0);
      say(one.value, reading.value);
      say(one.note, reading.note);
      say(one.absent, reading.absent ?? "");
      one.root.dataset["tone"] = reading.tone;
      one.root.dataset["absent"] = String(reading.absent !== null);
      this.readOut(one);
    }
    this.placeLane(min, max);
  }

  private placeLane(min: number, max: number): void {
    const first = this.mounted[0]?.plot;
    if (first === undefined || this.picture === null) return;
    const { left, width } = first.over.getBoundingClientRect();
    const box = { left: left - this.lane.flags.getBoundingClientRect().left, width };
    this.lane.show(this.picture.marks, box, min, max, this.picture.at);
  }

  private theme: Theme = (property) => {
    const known = this.colours.get(property);
    if (known !== undefined) return known;
    const value = getComputedStyle(document.documentElement).getPropertyValue(property).trim();
    this.colours.set(property, value);
    return value;
  };

  private rebuild(): void {
    for (const { plot } of this.mounted) plot.destroy();
    this.mounted = PANELS.map((panel, index) => this.mount(panel, index === PANELS.length - 1));
    fill(this.panels, ...this.mounted.map(({ root }) => root));
    this.resize();
    if (this.picture !== null) this.show(this.picture);
  }

  private mount(panel: Panel, last: boolean): Mounted {
    const value = h("p", { class: "value" }, "–");
    const note = h("p", { class: "note" });
    const absent = h("p", { class: "absent" });
    const readouts = panel.lines.map((line) => h("span", { class: "readout" }, line.label));
    const keys = panel.lines.map((line, index) => h("li", { class: `key ${line.shape}` },
      this.swatch(line), readouts[index] ?? null));
    const gutter = h("div", { class: "gutter" }, h("h3", {}, panel.title), value, note, h("ul", { class: "keys" }, ...keys));
    const place = h("div", { class: "plot" });
    const canvas = h("div", { class: "canvas" }, place, absent);
    const root = h("section", { class: "panel", id: `panel-${panel.id}`, "aria-label": panel.title }, gutter, canvas);
    const one: Mounted = {
      panel, value, note, absent, root, canvas, readouts, scene: EMPTY, top: panel.floor, plot: null as unknown as uPlot,
    };
    one.plot = new uPlot(this.options(one, last), [[], ...panel.lines.map(() => [])], place);
    return one;
  }

  private swatch(line: Line): HTMLElement {
    const swatch = h("i", { class: "swatch" });
    swatch.style.setProperty("--swatch", `var(${line.colour})`);
    return swatch;
  }

  private options(one: Mounted, last: boolean): uPlot.Options {
    const { panel } = one;
    const font = `11px ${this.theme("--font")}`;
    const grid = { stroke: this.theme("--grid"), width: 1 };
    return {
      width: 300,
      height: 90,
      padding: [9, 10, last ? 0 : 3, 0],
      legend: { show: false },
      cursor: { sync: { key: SYNC, scales: ["x", null] }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { time: true, auto: false }, y: { auto: false } },
      axes: [
        {
          stroke: this.theme("--muted"), font, grid, ticks: { show: false }, size: last ? 22 : 0, space: 76, gap: 4,
          values: last ? (_, times) => times.map((t) => clock(t * 1000).slice(0, t % 60 === 0 ? 5 : 8)) : () => [],
        },
        {
          stroke: this.theme("--muted"), font, grid, ticks: { show: false }, size: 62, gap: 6,
          splits: () => splits(one.top, one.scene.fds?.limit ?? null),
          // No label at 0: it would sit on the edge of the panel, and every axis begins there.
          values: (_, values) => values.map((value) => (value === 0 ? "" : panel.format(value))),
        },
      ],
      series: [{}, ...panel.lines.map((line) => this.series(line))],
      hooks: {
        drawClear: [(u) => background(u, one.scene, this.theme)],
        draw: [(u) => foreground(u, one.scene, this.theme)],
        setCursor: [() => this.readOut(one)],
      },
    };
  }

  private series(line: Line): uPlot.Series {
    const stroke = this.theme(line.colour);
    const base: uPlot.Series = { label: line.label, stroke, width: 1.5, points: { show: false }, spanGaps: false };
    switch (line.shape) {
      case "area":
        return { ...base, fill: this.theme(`${line.colour}-fill`) };
      case "dashed":
        return { ...base, dash: [6, 4], paths: uPlot.paths.stepped?.({ align: 1 }) ?? null } as uPlot.Series;
      case "bars":
        return { ...base, width: 0, fill: stroke, paths: uPlot.paths.bars?.({ size: [0.8, 8, 2] }) ?? null } as uPlot.Series;
      default:
        return base;
    }
  }

  /** The values at the cursor, in the place of the names of the lines. */
  private readOut(one: Mounted): void {
    const index = one.plot.cursor.idx;
    const outside = index == null || (one.plot.cursor.left ?? -1) < 0;
    one.panel.lines.forEach((line, at) => {
      const value = outside ? undefined : one.plot.data[at + 1]?.[index];
      const text = outside ? line.label : value == null ? "–" : one.panel.format(value);
      const place = one.readouts[at];
      if (place !== undefined) say(place, text);
    });
    if (one === this.mounted[0]) {
      const t = outside ? undefined : one.plot.data[0][index];
      this.lane.cursor(t === undefined || this.picture === null ? "" : `${clock(t * 1000)}, ${count(
        Math.max(0, Math.round(this.picture.at - t)))} s ago`);
    }
  }

  private key(event: KeyboardEvent): void {
    const first = this.mounted[0]?.plot;
    if (first === undefined || !["ArrowLeft", "ArrowRight", "Escape"].includes(event.key)) return;
    event.preventDefault();
    const last = first.data[0].length - 1;
    const now = (first.cursor.left ?? -1) < 0 ? last : (first.cursor.idx ?? last);
    const next = Math.min(last, Math.max(0, now + (event.key === "ArrowLeft" ? -1 : 1) * (event.shiftKey ? 10 : 1)));
    const t = event.key === "Escape" ? undefined : first.data[0][next];
    for (const { plot } of this.mounted) {
      plot.setCursor(t === undefined ? { left: -10, top: -10 } : { left: plot.valToPos(t, "x"), top: 1 });
    }
  }

  private resize(): void {
    for (const { plot, canvas } of this.mounted) {
      const [width, height] = [canvas.clientWidth, canvas.clientHeight];
      if (width > 0 && height > 0 && (width !== plot.width || height !== plot.height)) plot.setSize({ width, height });
    }
    if (this.picture !== null) this.show(this.picture);
  }
}

function highest(columns: (number | null)[][]): number {
  let top = 0;
  for (const column of columns) for (const value of column) if (value !== null && value > top) top = value;
  return top;
}
