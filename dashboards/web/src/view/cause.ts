// One possible culprit: its title, how sure the agent is, where in the code, for which requests, and what speaks for it.

import type { Cause, Evidence, Forecast } from "../api";
import { copyButton, h } from "../dom";
import { split } from "../frames";
import { count, eta, measured, percent, words } from "../format";

const FRAMES_SHOWN = 3;
const TRACES_SHOWN = 4;

/** How a join is said to a person. */
const JOIN: Record<string, string> = {
  thread_context: "thread context (exact)",
  socket: "socket",
  inherited: "inherited",
  window: "time window only",
  none: "not joined",
};

export function causeView(cause: Cause, first: boolean, open: boolean): HTMLElement {
  const body = h("div", { class: "cause-body" },
    cause.forecast === null ? null : forecastView(cause.forecast, open),
    placeView(cause),
    tracesView(cause.trace_ids),
    cause.evidence.length === 0 ? null : evidenceView(cause.evidence));
  const head = [
    h("span", { class: "kind" }, words(cause.kind)),
    h("span", { class: "title" }, cause.title),
    confidenceView(cause.confidence),
  ];
  if (first) return h("section", { class: "cause first" }, h("div", { class: "cause-head" }, ...head), body);
  return h("details", { class: "cause" }, h("summary", { class: "cause-head" }, ...head), body);
}

function confidenceView(confidence: number): HTMLElement {
  const bar = h("i", {});
  bar.style.width = `${Math.round(confidence * 100)}%`;
  return h("span", { class: "confidence" },
    h("span", { class: "bar", "aria-hidden": "true" }, bar), `${percent(confidence)} confidence`);
}

/** Of an incident that is over, the forecast is what was expected, not what will be. */
function forecastView(forecast: Forecast, open: boolean): HTMLElement {
  const { level, limit, resource } = forecast;
  const fullness = limit === 0 ? 0 : Math.min(level / limit, 1);
  const bar = h("i", {});
  bar.style.width = `${fullness * 100}%`;
  const left = forecast.eta_seconds === null
    ? "no growth that would reach it"
    : open
      ? h("strong", {}, `limit reached in ${eta(forecast.eta_seconds)}`)
      : `at the last look the limit was ${eta(forecast.eta_seconds)} away`;
  return h("div", { class: "forecast", "data-open": open },
    h("p", {}, `${count(level)} of ${count(limit)} ${words(resource)}, `, left),
    h("span", { class: "bar", role: "img", "aria-label": `${percent(fullness)} of the limit used` }, bar));
}

function placeView(cause: Cause): HTMLElement | null {
  const parts: Node[] = [];
  const { frames, own } = cause.site ?? { frames: [], own: [] };
  const item = (frame: string, number: number): HTMLElement => frameView(frame, own.includes(number));
  if (frames.length > 0) {
    // The line that a reader can change, with its callers; the runtime's frames below it are in the whole stack.
    const from = Math.min(own[0] ?? 0, frames.length - 1);
    const shown = frames.slice(from, from + FRAMES_SHOWN);
    parts.push(h("ol", { class: "frames", start: from + 1, "aria-label": "Stack, innermost first" }, ...shown.map((frame, number) => item(frame, from + number))));
    if (shown.length < frames.length) {
      parts.push(h("details", { class: "more" }, h("summary", {}, `whole stack, ${frames.length} frames`),
        h("ol", { class: "frames whole" }, ...frames.map(item))));
    }
  } else {
    parts.push(h("p", { class: "unknown" }, "Line unknown: no stack was taken there."));
  }
  if (cause.thread !== null) parts.push(h("p", { class: "fact" }, `thread ${cause.thread.name} (${cause.thread.tid})`));
  if (cause.connection !== null) {
    parts.push(h("p", { class: "fact" }, `connection ${cause.connection.local} ↔ ${cause.connection.peer}`));
  }
  return h("div", { class: "place" }, h("h4", {}, "Where"), ...parts);
}

function frameView(frame: string, own: boolean): HTMLElement {
  const { name, place } = split(frame);
  return h("li", { "data-own": own },
    h("code", {}, name, place === "" ? "" : " ", h("span", { class: "file" }, place)));
}

function tracesView(traces: readonly string[]): HTMLElement | null {
  if (traces.length === 0) return null;
  const newest = [...traces].reverse();
  const item = (id: string): HTMLElement => h("li", {}, copyButton(id, id, `Copy trace id ${id}`));
  const rest = newest.slice(TRACES_SHOWN);
  return h("div", { class: "traces" },
    h("h4", {}, `Requests behind it, by trace id`),
    h("ul", {}, ...newest.slice(0, TRACES_SHOWN).map(item)),
    rest.length === 0 ? null : h("details", { class: "more" },
      h("summary", {}, `${rest.length} more`), h("ul", {}, ...rest.map(item))));
}

function evidenceView(evidence: readonly Evidence[]): HTMLElement {
  const rows = evidence.map((entry) => h("tr", {},
    h("th", { scope: "row" }, h("span", { class: "layer", "data-layer": entry.layer }, entry.layer), entry.signal),
    h("td", { class: "n" }, measured(entry.before, entry.unit)),
    h("td", { class: "n after" }, measured(entry.after, entry.unit)),
    h("td", { class: "n" }, count(entry.n)),
    h("td", { class: "join" }, (JOIN[entry.join] ?? entry.join) + (entry.ambiguity > 1 ? `, 1 of ${count(entry.ambiguity)}` : "")),
  ));
  const heads: [string, string][] = [["signal", ""], ["before", "n"], ["after", "n"], ["n", "n"], ["joined by", ""]];
  return h("div", { class: "evidence" }, h("h4", {}, "Evidence"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Evidence" }, h("table", {},
      h("thead", {}, h("tr", {}, ...heads.map(([head, kind]) => h("th", { scope: "col", class: kind }, head)))),
      h("tbody", {}, ...rows))));
}
