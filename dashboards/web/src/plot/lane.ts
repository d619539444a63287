// The strip above the plots that names the marks drawn through them, and the moment under the cursor.

import { fill, h, say } from "../dom";
import { arrange, type Mark } from "../events";
import { clock } from "../format";
import { MARK_COLOUR } from "./draw";

const ROWS = 4;
const ROW_PX = 15;
const MAX_LABEL = 26;

export class Lane {
  readonly flags = h("div", { class: "flags" });
  private readonly moment = h("p", { class: "moment", role: "status" });
  readonly element: HTMLElement;
  private drawn = "";

  constructor(head: HTMLElement) {
    this.element = h("div", { class: "lane" }, h("div", { class: "lane-head" }, head, this.moment), this.flags);
  }

  cursor(text: string): void {
    say(this.moment, text);
  }

  show(marks: readonly Mark[], box: { left: number; width: number }, min: number, max: number, now: number): void {
    const place = (mark: Mark): number => box.left + ((mark.t - min) / (max - min)) * box.width;
    const visible = marks.filter((mark) => mark.t >= min && mark.t <= max);
    const shown = (mark: Mark): string =>
      mark.label.length > MAX_LABEL ? `${mark.label.slice(0, MAX_LABEL - 1)}…` : mark.label;
    const placed = arrange(visible, place, (mark) => 14 + shown(mark).length * 6.4, ROWS);
    const key = JSON.stringify([placed.map((mark) => [mark.row, mark.label, Math.round(place(mark))]), box.left]);
    if (key === this.drawn) return;
    this.drawn = key;
    fill(this.flags, ...placed.filter((mark) => mark.row >= 0).map((mark) => {
      const title = `${mark.label}, ${clock(mark.t * 1000)}, ${Math.round(now - mark.t)} s ago`;
      const flag = h("span", { class: "flag", title }, h("span", {}, shown(mark)));
      flag.style.left = `${place(mark)}px`;
      flag.style.top = `${mark.row * ROW_PX}px`;
      flag.style.setProperty("--flag", `var(${MARK_COLOUR[mark.kind]})`);
      // A label near the right edge is turned to the left of its line.
      if (place(mark) + 14 + shown(mark).length * 6.4 > box.left + box.width + 8) flag.dataset["turned"] = "true";
      return flag;
    }));
  }
}
