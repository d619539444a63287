// What is suspected, before anything has lasted for long enough to be an incident: no alert, only a first idea.

import { fill, h } from "../dom";
import { age, percent, words } from "../format";
import type { Suspect } from "../store";

export class Suspects {
  readonly element = h("div", { class: "suspects" });
  private drawn = "";

  show(all: readonly Suspect[], now: number): void {
    const key = JSON.stringify([all, Math.floor(now)]);
    if (key === this.drawn) return;
    this.drawn = key;
    this.element.hidden = all.length === 0;
    fill(this.element, ...all.map((one) => suspectView(one, now)));
  }
}

function suspectView({ name, pid, suspicion }: Suspect, now: number): HTMLElement {
  const { cause, since } = suspicion;
  const lasted = since === null ? "" : ` for ${age(now - Date.parse(since) / 1000)}`;
  return h("article", { class: "suspect" },
    h("p", { class: "suspect-head" }, h("span", { class: "kind" }, `Suspected${lasted}`),
      h("span", { class: "where" }, `${name} · pid ${pid}`)),
    h("p", { class: "headline" }, cause.title),
    h("p", { class: "hint" }, `${words(cause.kind)}, ${percent(cause.confidence)} confidence. If it lasts, an incident opens.`));
}
