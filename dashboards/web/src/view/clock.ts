// The response clock: onset, detected, named, mitigated, recovered, and how long each took.

import type { Incident } from "../api";
import { h } from "../dom";
import { responseClock } from "../events";
import { clock, duration } from "../format";

export function responseClockView(incident: Incident): HTMLElement {
  const open = incident.closed_at === null;
  const items = responseClock(incident).map((stop, index) => {
    const reached = stop.t !== null;
    const after = index === 0 || stop.after === null ? "" : `+${duration(Math.round(stop.after * 10) / 10)}`;
    const missing = open ? "pending" : "did not happen";
    return h("li", { "data-reached": reached, "data-stop": stop.name },
      h("span", { class: "stop" }, stop.name),
      h("span", { class: "after" }, index === 0 ? (stop.t === null ? "unknown" : clock(stop.t * 1000)) : after || (reached ? "reached" : missing)),
      h("span", { class: "at" }, index === 0 || stop.t === null ? "" : clock(stop.t * 1000)),
    );
  });
  return h("ol", { class: "clock", "aria-label": "Response clock" }, ...items);
}
