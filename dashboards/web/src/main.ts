// The workbench: wires the stream to the store and the store to the page. Redraws once a sample, never faster.

import "uplot/dist/uPlot.min.css";
import "./style/base.css";
import "./style/head.css";
import "./style/signals.css";
import "./style/incidents.css";
import "./style/causes.css";
import type { Incident } from "./api";
import { fill, h, say } from "./dom";
import { marks, periods } from "./events";
import { age } from "./format";
import { Stack } from "./plot/stack";
import { Store } from "./store";
import { type Link, Stream } from "./stream";
import { Header, Targets } from "./view/header";
import { Incidents } from "./view/incidents";
import { Slos } from "./view/slo";

/** Widths of the window that the plots show, seconds. */
const WINDOWS: [string, number][] = [["2 min", 120], ["5 min", 300], ["15 min", 900]];

class Workbench {
  private readonly store = new Store();
  private link: Link = { state: "connecting" };
  private chosen: number | null = null;
  private window = 300;
  private planned = false;
  private readonly header = new Header();
  private readonly targets = new Targets((pid) => {
    this.chosen = pid;
    this.plan();
  });
  private readonly slos = new Slos();
  private readonly stack = new Stack(h("div", { class: "signals-head" }, h("h2", {}, "Signals"), this.windowChoice()));
  private readonly incidents = new Incidents();
  private readonly retry = h("button", { type: "button" }, "Try now");
  private readonly bannerText = h("span", {});
  private readonly banner = h("p", { class: "banner", hidden: true }, this.bannerText, this.retry);
  private readonly blank = h("div", { class: "blank" });
  private readonly signals = h("section", { class: "signals", "aria-label": "Signals" });
  private readonly stream: Stream;

  constructor(place: Element) {
    this.stream = new Stream("", {
      sample: (sample) => {
        if (this.store.apply(sample)) this.plan();
      },
      incident: (incident, known) => this.take(incident, known),
      status: (status) => {
        this.store.probes = status.probes;
        this.plan();
      },
      link: (link) => {
        this.link = link;
        this.plan();
      },
    });
    this.retry.addEventListener("click", () => this.stream.open());
    fill(this.signals, this.stack.element, this.blank);
    fill(place, this.header.element, this.banner, this.targets.element, this.slos.element,
      h("main", {}, this.signals, this.incidents.element),
      h("p", { id: "announcer", class: "unseen", "aria-live": "polite" }));
    window.setInterval(() => this.showBanner(), 500);
    this.draw();
    this.stream.open();
  }

  private windowChoice(): HTMLElement {
    const buttons = WINDOWS.map(([label, seconds]) => {
      const button = h("button", { type: "button", "aria-pressed": seconds === this.window }, label);
      button.addEventListener("click", () => {
        this.window = seconds;
        buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
        this.plan();
      });
      return button;
    });
    return h("div", { class: "windows-choice", role: "group", "aria-label": "Time window" }, ...buttons);
  }

  private take(incident: Incident, known: boolean): void {
    const isNew = this.store.applyIncident(incident);
    if (isNew && !known && incident.closed_at === null) {
      this.incidents.tell(incident);
      // The first look goes to where it burns, unless the reader has chosen a process herself.
      if (this.chosen === null) this.chosen = incident.target.pid;
    }
    this.plan();
  }

  /** A burst of events is drawn once; a hidden page is drawn when it is shown again. */
  private plan(): void {
    if (this.planned) return;
    this.planned = true;
    window.requestAnimationFrame(() => {
      this.planned = false;
      this.draw();
    });
  }

  /** The process that the plots are about: the chosen one, else that of the foremost incident, else the busiest. */
  private subject(incidents: readonly Incident[]): number | null {
    const { targets } = this.store;
    if (this.chosen !== null && targets.has(this.chosen)) return this.chosen;
    const ill = incidents.find((incident) => targets.has(incident.target.pid));
    if (ill !== undefined) return ill.target.pid;
    const busiest = [...targets.values()].sort((a, b) =>
      b.latest.requests_total - a.latest.requests_total || a.latest.pid - b.latest.pid)[0];
    return busiest?.latest.pid ?? null;
  }

  private draw(): void {
    const { store } = this;
    const incidents = store.incidents();
    const open = incidents.filter((incident) => incident.closed_at === null);
    const troubled = new Set(open.map((incident) => incident.target.pid));
    const pid = this.subject(incidents);
    const target = pid === null ? undefined : store.targets.get(pid);
    document.title = open.length === 0 ? "Snowshed" : `(${open.length}) Snowshed`;
    document.body.dataset["trouble"] = String(open.length > 0);
    this.header.show(store, this.link);
    this.targets.show(store, pid ?? 0, troubled);
    this.slos.show(store.slos, store.at !== null);
    this.incidents.show(incidents, store.suspects(), store.at, store.targets.size > 0);
    this.stack.element.hidden = target === undefined;
    this.blank.hidden = target !== undefined;
    if (target === undefined || pid === null) this.drawBlank();
    else {
      this.stack.show({
        target, at: store.at ?? target.seen, window: this.window, marks: marks(incidents, pid), periods: periods(incidents, pid),
      });
    }
    this.showBanner();
  }

  private drawBlank(): void {
    const waiting = this.store.at === null;
    const key = String(waiting);
    if (this.blank.dataset["waiting"] === key) return;
    this.blank.dataset["waiting"] = key;
    if (waiting) fill(this.blank, h("p", {}, "Waiting for the first sample from the agent."));
    else {
      fill(this.blank,
        h("p", {}, "No targets yet: no watched process is running."),
        h("p", {}, "Choose some with ", h("code", {}, "snowshed run --pid PID"), ", ", h("code", {}, "--comm NAME"), " or ",
          h("code", {}, "--cgroup PATH"), ". Without a choice, processes that listen on a port are watched."));
    }
  }

  private showBanner(): void {
    const { link, store } = this;
    this.banner.hidden = link.state !== "waiting";
    document.body.dataset["link"] = link.state;
    if (link.state !== "waiting") return;
    const wait = Math.max(0, Math.ceil((link.retryAt - Date.now()) / 1000));
    const old = store.at === null ? "" : ` What you see is ${age(Date.now() / 1000 - store.at)} old.`;
    say(this.bannerText, `The agent does not answer. Next try in ${wait} s.${old}`);
  }
}

const place = document.getElementById("workbench");
if (place !== null) new Workbench(place);
