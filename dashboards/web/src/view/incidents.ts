// The incidents, open ones first. A card is rebuilt only when its incident changed, so what the reader opened stays open.

import type { Action, Incident } from "../api";
import { announce, copyButton, fill, h, Keyed, say } from "../dom";
import { age, clock, duration, words } from "../format";
import type { Suspect } from "../store";
import { causeView } from "./cause";
import { responseClockView } from "./clock";
import { Suspects } from "./suspects";

const CLOSED_SHOWN = 20;

export class Incidents {
  private readonly list = h("div", { class: "incident-list" });
  private readonly empty = h("div", { class: "empty calm" });
  private readonly title = h("h2", {}, "Incidents");
  private readonly suspects = new Suspects();
  readonly element = h("section", { class: "incidents", "aria-label": "Incidents" },
    this.title, this.suspects.element, this.list, this.empty);
  private readonly keyed: Keyed<Incident>;
  /** Cards that the reader opened or closed by hand; bounded by the store's own limit. */
  private readonly choices = new Map<string, boolean>();
  private now = 0;
  private current: readonly Incident[] = [];

  constructor() {
    this.keyed = new Keyed(this.list, (incident) => incident.id, () => this.create());
  }

  show(all: readonly Incident[], suspects: readonly Suspect[], now: number | null, hasTargets: boolean): void {
    this.now = now ?? Date.now() / 1000;
    this.suspects.show(suspects, this.now);
    const open = all.filter((incident) => incident.closed_at === null);
    this.current = [...open, ...all.filter((incident) => incident.closed_at !== null).slice(0, CLOSED_SHOWN)];
    for (const id of this.choices.keys()) {
      if (!this.current.some((incident) => incident.id === id)) this.choices.delete(id);
    }
    this.keyed.show(this.current);
    say(this.title, open.length === 0 ? "Incidents" : `Incidents, ${open.length} open`);
    this.empty.hidden = all.length > 0 || suspects.length > 0;
    say(this.empty, hasTargets
      ? "Nothing is wrong that Snowshed can see. An incident opens by itself when something orphaned, stalled or running out is found."
      : "Incidents appear here.");
  }

  /** Tells those who do not look at the page. */
  tell(incident: Incident): void {
    announce(`New incident, ${incident.severity}, ${incident.target.name}: ${headline(incident)}`);
  }

  private create(): { element: HTMLElement; update: (incident: Incident) => void } {
    const severity = h("span", { class: "severity" });
    const title = h("span", { class: "headline" });
    const where = h("span", { class: "where" });
    const since = h("span", { class: "since" });
    const toggle = h("button", { type: "button", class: "toggle" }, severity, title, where, since);
    const body = h("div", { class: "body" });
    const element = h("article", { class: "incident" }, h("h3", {}, toggle), body);
    let drawn = "";
    let id = "";
    toggle.addEventListener("click", () => {
      this.choices.set(id, body.hidden);
      this.keyed.show(this.current);
    });
    const update = (incident: Incident): void => {
      id = incident.id;
      const open = incident.closed_at === null;
      const expanded = this.choices.get(id) ?? incident === this.current[0];
      body.hidden = !expanded;
      toggle.setAttribute("aria-expanded", String(expanded));
      element.dataset["open"] = String(open);
      element.dataset["severity"] = incident.severity;
      element.dataset["verdict"] = incident.verdict;
      say(severity, open ? incident.severity : "closed");
      say(title, headline(incident));
      say(where, whereText(incident));
      say(since, sinceText(incident, this.now));
      const key = expanded ? JSON.stringify(incident) : "";
      if (key === drawn) return;
      drawn = key;
      if (expanded) renderBody(body, incident);
      else fill(body);
    };
    return { element, update };
  }
}

function headline(incident: Incident): string {
  const title = incident.verdict === "named" ? incident.causes[0]?.title : undefined;
  return title || incident.trigger.detail || words(incident.trigger.kind);
}

function whereText({ target }: Incident): string {
  const others = target.also_pids.length;
  return `${target.name} · pid ${target.pid}${others === 0 ? "" : ` and ${others} more`}`;
}

function sinceText(incident: Incident, now: number): string {
  const opened = Date.parse(incident.opened_at) / 1000;
  if (incident.closed_at === null) return `open for ${age(now - opened)}`;
  return `lasted ${duration(Math.max(0, Math.round(Date.parse(incident.closed_at) / 1000 - opened)))}`;
}

/** Redraws the body; details that were open stay open, and so does the focus if it was on one of them. */
function renderBody(body: HTMLElement, incident: Incident): void {
  const before = [...body.querySelectorAll("details")].map((details) => details.open);
  const focusable = "summary, button, [tabindex]";
  const focused = [...body.querySelectorAll(focusable)].indexOf(document.activeElement as Element);
  const named = incident.verdict === "named";
  const trigger = `Opened by ${words(incident.trigger.kind)}${incident.trigger.slo === null ? "" : ` of ${incident.trigger.slo}`}`;
  fill(body,
    responseClockView(incident),
    h("p", { class: "trigger" }, `${trigger}: ${incident.trigger.detail}`),
    named ? null : h("p", { class: "verdict" }, "Cause unknown. No candidate is above the confidence bar; these come closest."),
    ...incident.causes.map((cause, index) => causeView(cause, index === 0, incident.closed_at === null)),
    incident.what_changed.length === 0 ? null : h("div", { class: "changed" }, h("h4", {}, "What changed"),
      h("ul", {}, ...incident.what_changed.map((change) => h("li", {}, change)))),
    incident.actions.length === 0 ? null : actionsView(incident.actions),
    h("p", { class: "explain" }, copyButton(`snowshed explain ${incident.id}`, `snowshed explain ${incident.id}`,
      "Copy the command that explains this incident")));
  [...body.querySelectorAll("details")].forEach((details, index) => {
    details.open = before[index] ?? false;
  });
  if (focused >= 0) [...body.querySelectorAll<HTMLElement>(focusable)][focused]?.focus({ preventScroll: true });
}

function actionsView(actions: readonly Action[]): HTMLElement {
  const items = actions.map((action) => h("li", { "data-dry": action.dry_run },
    h("time", { datetime: action.at }, clock(Date.parse(action.at))),
    h("span", { class: "change" }, action.change.replaceAll("->", "→"),
      action.dry_run ? h("span", { class: "dry" }, "dry run") : null),
    h("span", { class: "reason" }, `${words(action.actuator)}: ${action.reason}`,
      action.expires_at === null ? "" : `, until ${clock(Date.parse(action.expires_at))} unless renewed`)));
  return h("div", { class: "actions" }, h("h4", {}, "Actions"), h("ol", {}, ...items));
}
