// The objectives in a strip: state in words, the share of the last window against the target, windows in a row.

import type { SloSample, SloState } from "../api";
import { h, Keyed, say } from "../dom";
import { count, percent } from "../format";

const STATE: Record<SloState, string> = {
  insufficient_data: "not enough data",
  ok: "met",
  violated: "violated",
  burning: "burning",
};

/** Windows in a row after which the agent acts. */
const IN_A_ROW = 3;

export class Slos {
  private readonly list = h("ul", { class: "slo-list" });
  private readonly empty = h("p", { class: "empty" },
    "No objectives. Orphans, stalls and forecasts work without; add some with ", h("code", {}, "--slo FILE"), ".");
  readonly element = h("section", { class: "slos", "aria-label": "Service level objectives" }, this.list, this.empty);
  private readonly keyed = new Keyed<SloSample>(this.list, (slo) => `${slo.service}/${slo.name}`, create);

  show(slos: readonly SloSample[], known: boolean): void {
    this.keyed.show(slos);
    this.list.hidden = slos.length === 0;
    this.empty.hidden = slos.length > 0 || !known;
  }
}

function create(): { element: HTMLElement; update: (slo: SloSample) => void } {
  const state = h("span", { class: "state" });
  const name = h("span", { class: "name" });
  const ratio = h("span", { class: "ratio" });
  const note = h("span", { class: "note" });
  const windows = h("span", { class: "windows", role: "img" });
  for (let index = 0; index < IN_A_ROW; index += 1) windows.append(h("i", {}));
  const element = h("li", { class: "slo" }, state, name, ratio, windows, note);
  const update = (slo: SloSample): void => {
    element.dataset["state"] = slo.state;
    say(state, STATE[slo.state]);
    say(name, slo.name);
    say(ratio, slo.ratio === null ? "–" : percent(slo.ratio));
    const budget = slo.budget_used === null ? "" : `, ${percent(slo.budget_used)} of the budget used`;
    say(note, `target ${percent(slo.target)}, ${count(slo.window_requests)} requests in the window${budget}`);
    windows.setAttribute("aria-label", `${slo.violations} violated windows in a row`);
    [...windows.children].forEach((dot, index) => {
      if (dot instanceof HTMLElement) dot.dataset["on"] = String(index < slo.violations);
    });
  };
  return { element, update };
}
