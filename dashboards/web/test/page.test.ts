// The views in a document: hostile text stays text, and what the reader opened stays open.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import * as decode from "../src/decode";
import { Incidents } from "../src/view/incidents";
import { Slos } from "../src/view/slo";

const EVIL = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`;
const at = (second: number): string => new Date(second * 1000).toISOString();

function evil(more: object = {}) {
  const decoded = decode.incident({
    id: EVIL, opened_at: at(1), target: { name: EVIL, pid: 3 }, severity: "page", verdict: "named",
    trigger: { kind: EVIL, slo: EVIL, detail: EVIL }, what_changed: [EVIL],
    causes: [{ kind: EVIL, confidence: 0.5, title: EVIL, site: { frames: [EVIL, `${EVIL} (a.rs:1)`] }, thread: { tid: 1, name: EVIL },
      connection: { local: EVIL, peer: EVIL }, trace_ids: [EVIL], forecast: { resource: EVIL, level: 1, limit: 2, eta_seconds: [1, 2] },
      evidence: [{ layer: EVIL, signal: EVIL, unit: EVIL, join: EVIL, before: 0, after: 1, ambiguity: 3 }] },
    { kind: "second", evidence: [] }],
    actions: [{ at: at(2), actuator: EVIL, change: EVIL, reason: EVIL }], ...more,
  });
  if (decoded === null) throw new Error("not an incident");
  return decoded;
}

beforeEach(() => document.body.replaceChildren());

describe("incidents", () => {
  it("show hostile text as text", () => {
    const view = new Incidents();
    document.body.append(view.element);
    view.show([evil()], [], 10, true);
    expect(document.querySelectorAll("img, script")).toHaveLength(0);
    expect(view.element.querySelector(".headline")?.textContent).toBe(EVIL);
    expect(view.element.querySelector(".traces button")?.textContent).toBe(EVIL);
    expect("hacked" in window).toBe(false);
  });

  it("begin a stack at the service's own line, and tell it apart in the whole", () => {
    const stack = (own: unknown) => {
      const view = new Incidents();
      const site = { frames: ["open64 (libc.so.6)", "node::fs::Open", "park (/srv/shop.js:9)", "main"], own };
      view.show([evil({ causes: [{ kind: "fd_leak", confidence: 0.9, title: "", site, evidence: [] }] })], [], 10, true);
      const names = (list: string): (string | null)[] =>
        [...view.element.querySelectorAll(`${list} li[data-own="true"] code`)].map((code) => code.textContent);
      return [view.element.querySelector("ol.frames li")?.textContent, names(".whole")];
    };
    expect(stack([2, 3])).toEqual(["park /srv/shop.js:9", ["park /srv/shop.js:9", "main"]]);
    // From an agent that does not say, and from one that lies.
    expect(stack(undefined)[0]).toBe("open64 libc.so.6");
    expect(stack([1e9, "2"])[0]).toBe("main");
  });

  it("show what is suspected until an incident says so, hostile text as text", () => {
    const view = new Incidents();
    document.body.append(view.element);
    const [cause] = evil().causes;
    if (cause === undefined) throw new Error("no cause");
    const suspect = { name: EVIL, pid: 3, suspicion: { since: at(6), cause } };
    view.show([], [suspect], 10, true);
    expect(document.querySelectorAll("img, script")).toHaveLength(0);
    expect(view.element.querySelector(".suspect .headline")?.textContent).toBe(EVIL);
    expect(view.element.querySelector(".suspect .kind")?.textContent).toBe("Suspected for 4 s");
    view.show([evil()], [], 11, true);
    expect(view.element.querySelector(".suspect")).toBeNull();
  });

  it("keep open what the reader opened when the incident changes", () => {
    const view = new Incidents();
    document.body.append(view.element);
    view.show([evil()], [], 10, true);
    const second = view.element.querySelector<HTMLDetailsElement>("details.cause");
    if (second !== null) second.open = true;
    view.show([evil({ updated_at: at(20) })], [], 20, true);
    expect(view.element.querySelector<HTMLDetailsElement>("details.cause")?.open).toBe(true);
  });

  it("expand the first, and obey the reader after that", () => {
    const view = new Incidents();
    const [a, b] = [evil(), evil({ id: "b", opened_at: at(0) })];
    view.show([a, b], [], 10, true);
    const toggles = [...view.element.querySelectorAll<HTMLButtonElement>(".toggle")];
    const states = (): (string | null)[] => toggles.map((toggle) => toggle.getAttribute("aria-expanded"));
    expect(states()).toEqual(["true", "false"]);
    toggles.forEach((toggle) => toggle.click());
    expect(states()).toEqual(["false", "true"]);
    view.show([a, b], [], 11, true);
    expect(states()).toEqual(["false", "true"]);
  });

  it("say honestly that no cause is known, and that nothing is wrong", () => {
    const view = new Incidents();
    view.show([evil({ verdict: "unknown" })], [], 10, true);
    expect(view.element.querySelector(".verdict")?.textContent).toContain("Cause unknown");
    view.show([], [], 11, true);
    expect(view.element.querySelector(".empty")?.textContent).toContain("Nothing is wrong that Snowshed can see");
  });
});

describe("objectives", () => {
  it("say their state in words", () => {
    const view = new Slos();
    view.show(decode.sample({ at: at(1), slos: [{ name: EVIL, state: "burning", violations: 3, target: 0.95 }] })?.slos ?? [], true);
    expect(view.element.querySelector(".state")?.textContent).toBe("burning");
    expect(view.element.querySelector(".name")?.textContent).toBe(EVIL);
    expect(view.element.querySelectorAll('.windows i[data-on="true"]')).toHaveLength(3);
  });
});

describe("sources", () => {
  it("never parse markup", () => {
    const files = readdirSync("src", { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
    expect(files.length).toBeGreaterThan(10);
    const found = files.filter((file) => /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser/.test(readFileSync(join("src", file), "utf8")));
    expect(found).toEqual([]);
  });
});
