// The head of the page: whether the agent is there, what it can see, what it costs, and which processes it watches.

import type { ProbeStatus } from "../api";
import { fill, h, Keyed, say } from "../dom";
import { age, bytes, clock, count, duration, percent } from "../format";
import type { Store, Target } from "../store";
import type { Link } from "../stream";

export class Header {
  private readonly link = h("p", { class: "link", role: "status" });
  private readonly cost = h("p", { class: "cost" });
  private readonly probes = h("details", { class: "probes" });
  private readonly summary = h("summary", {});
  private readonly table = h("div", { class: "probe-table" });
  private drawnProbes = "";
  readonly element: HTMLElement;

  constructor() {
    this.probes.append(this.summary, this.table);
    this.probes.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.probes.open = false;
    });
    document.addEventListener("click", (event) => {
      if (event.target instanceof Node && !this.probes.contains(event.target)) this.probes.open = false;
    });
    this.element = h("header", { class: "head" },
      h("h1", {}, "Snowshed"), this.link, h("div", { class: "about" }, this.cost, this.probes));
  }

  show(store: Store, link: Link): void {
    const last = store.at === null ? "" : clock(store.at * 1000);
    const live = link.state === "live" && store.at !== null;
    this.link.dataset["state"] = live ? "live" : link.state === "waiting" ? "gone" : "connecting";
    say(this.link, live ? `Live, ${last}` : link.state === "waiting" ? "Agent does not answer" : "Connecting");
    const lost = store.probes.reduce((sum, probe) => sum + probe.lost, 0);
    const parts = [
      store.agentCpu === null ? "" : `agent ${percent(store.agentCpu)} of a core`,
      store.agentRss === null ? "" : bytes(store.agentRss),
      store.probes.length === 0 ? "" : lost === 0 ? "no event lost" : `${count(lost)} events lost`,
    ];
    say(this.cost, parts.filter((part) => part !== "").join(", "));
    this.showProbes(store.probes);
  }

  private showProbes(probes: readonly ProbeStatus[]): void {
    const key = JSON.stringify(probes);
    this.probes.hidden = probes.length === 0;
    if (key === this.drawnProbes) return;
    this.drawnProbes = key;
    const full = probes.filter((probe) => probe.tier === "full").length;
    this.summary.dataset["tier"] = full === probes.length ? "full" : full === 0 ? "off" : "reduced";
    say(this.summary, `${full} of ${probes.length} probes full`);
    const rows = probes.map((probe) => h("tr", {},
      h("th", { scope: "row" }, probe.name),
      h("td", { class: "tier", "data-tier": probe.tier }, probe.tier),
      h("td", { class: "n" }, count(probe.events)),
      h("td", { class: "n", "data-lost": probe.lost > 0 }, count(probe.lost)),
      h("td", { class: "n" }, probe.ns_per_event === null ? "–" : duration(probe.ns_per_event / 1e9)),
      h("td", { class: "why" }, [probe.reason, probe.remedy].filter((part) => part !== "").join(" → ")),
    ));
    const heads = ["probe", "tier", "events", "lost", "per event", "why, and what would help"];
    fill(this.table, h("table", {},
      h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))), h("tbody", {}, ...rows)));
  }
}

/** The processes, one of which the plots are about. */
export class Targets {
  readonly element = h("nav", { class: "targets", "aria-label": "Watched processes" });
  private readonly keyed: Keyed<Target>;
  private chosen = 0;
  private tier = "";
  private now = 0;

  constructor(private readonly choose: (pid: number) => void) {
    this.keyed = new Keyed(this.element, (target) => String(target.latest.pid), (target) => this.create(target));
  }

  show(store: Store, chosen: number, troubled: ReadonlySet<number>): void {
    this.chosen = chosen;
    this.now = store.at ?? 0;
    const full = store.probes.filter((probe) => probe.tier === "full").length;
    this.tier = store.probes.length === 0 ? "" : full === store.probes.length ? "full" : full === 0 ? "no BPF" : "reduced";
    this.element.hidden = store.targets.size === 0;
    const order = [...store.targets.values()].sort((a, b) => a.latest.pid - b.latest.pid);
    this.keyed.show(order);
    [...this.element.children].forEach((child, index) => {
      const pid = order[index]?.latest.pid;
      if (child instanceof HTMLElement) child.dataset["troubled"] = String(pid !== undefined && troubled.has(pid));
    });
  }

  private create(first: Target): { element: HTMLElement; update: (target: Target) => void } {
    const name = h("span", { class: "name" });
    const facts = h("span", { class: "facts" });
    const element = h("button", { type: "button", class: "target" }, name, facts);
    element.addEventListener("click", () => this.choose(first.latest.pid));
    const update = (target: Target): void => {
      const { latest } = target;
      const gone = target.seen < this.now;
      const old = latest.started_at === null ? "" : `${age(this.now - Date.parse(latest.started_at) / 1000)} old`;
      say(name, latest.name);
      say(facts, [`pid ${latest.pid}`, gone ? "ended" : old, gone ? "" : this.tier].filter((part) => part !== "").join(" · "));
      element.setAttribute("aria-pressed", String(latest.pid === this.chosen));
      element.dataset["gone"] = String(gone);
    };
    return { element, update };
  }
}
