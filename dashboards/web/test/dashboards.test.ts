// The Grafana dashboard and the Prometheus rules ask only for metrics and labels that the agent's own table declares.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const table = new Map<string, string[]>();
for (const [, name, labels] of readFileSync("../../agent/src/metrics.rs", "utf8").matchAll(/"(snowshed_\w+)" \[([^\]]*)\]/g)) {
  if (name !== undefined) table.set(name, [...(labels ?? "").matchAll(/"(\w+)"/g)].map(([, label]) => label ?? ""));
}
const SCRAPE = ["instance", "job"];

/** Metrics in an expression that are unknown, or are asked for by a label that they do not have. */
function wrong(expression: string): string[] {
  const found: string[] = [];
  for (const [, name = "", matchers] of expression.matchAll(/(?<![\w:])(snowshed_\w+)(?:\{([^}]*)\})?/g)) {
    const labels = table.get(name);
    if (labels === undefined) found.push(name);
    for (const [, label = ""] of (matchers ?? "").matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)) {
      if (labels !== undefined && ![...labels, ...SCRAPE].includes(label)) found.push(`${name}{${label}}`);
    }
  }
  return found;
}

describe("dashboards", () => {
  it("can tell a wrong name and a wrong label", () => {
    expect(table.size).toBeGreaterThan(20);
    expect(wrong('rate(snowshed_nonsense_total[1m]) + snowshed_target_fds{colour="red"}')).toEqual(
      ["snowshed_nonsense_total", "snowshed_target_fds{colour}"]);
  });

  it("ask for what the agent serves", () => {
    const dashboard = readFileSync("../grafana/snowshed.json", "utf8");
    const expressions = [...dashboard.matchAll(/"(?:expr|query|definition)": "((?:[^"\\]|\\.)*)"/g)].map(([, text]) => JSON.parse(`"${text}"`) as string);
    expect(expressions.length).toBeGreaterThan(30);
    expect(expressions.flatMap(wrong)).toEqual([]);
  });

  it("have rules on what the agent serves", () => {
    const rules = readFileSync("../prometheus/snowshed.rules.yml", "utf8").split("\n").filter((line) => line.includes("expr:"));
    expect(rules.length).toBeGreaterThan(15);
    expect(rules.flatMap(wrong)).toEqual([]);
  });

  it("have panels that do not overlap", () => {
    const { panels } = JSON.parse(readFileSync("../grafana/snowshed.json", "utf8")) as
      { panels: { id: number; gridPos: { x: number; y: number; w: number; h: number } }[] };
    const cells = new Set<string>();
    for (const { gridPos: { x, y, w, h } } of panels) {
      for (let column = x; column < x + w; column += 1) for (let row = y; row < y + h; row += 1) {
        expect(cells.has(`${column},${row}`)).toBe(false);
        cells.add(`${column},${row}`);
        expect(column).toBeLessThan(24);
      }
    }
    expect(new Set(panels.map((panel) => panel.id)).size).toBe(panels.length);
  });
});
