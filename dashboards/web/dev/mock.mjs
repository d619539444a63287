// For development only: answers like an agent, with an invented service (scenario.mjs). Loopback only.
//
//   node dev/mock.mjs [--port N] [--scenario leak|stall|quiet|empty|hostile] [--start SECOND] [--past SECONDS] [--speed N]
//
// Prints its address as one JSON line. `--past` replays that much history to each new client.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { HOSTILE, incident, PROBES, sample } from "./scenario.mjs";

const { values } = parseArgs({ options: {
  port: { type: "string", default: "0" }, scenario: { type: "string", default: "leak" },
  start: { type: "string", default: "100" }, past: { type: "string", default: "100" }, speed: { type: "string", default: "1" },
} });
const speed = Number(values.speed);
const began = Date.now();
const start = Number(values.start);
const kind = values.scenario === "hostile" ? "leak" : values.scenario;

const second = () => start + ((Date.now() - began) / 1000) * speed;
const wall = (t) => new Date(Date.now() + (t - second()) * 1000).toISOString();
const CSP = "default-src 'self'";
const FILES = { "/": ["index.html", "text/html"], "/app.js": ["app.js", "text/javascript"], "/app.css": ["app.css", "text/css"] };

function json(response, value) {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}

function stream(request, response) {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  let id = 0;
  const send = (event, value) => response.write(`id: ${(id += 1)}\nevent: ${event}\ndata: ${JSON.stringify(value)}\n\n`);
  const from = Math.max(1, Math.floor(second()) - Number(values.past));
  for (let t = from; t < second(); t += 1) send("sample", sample(t, wall(t), kind));
  if (values.scenario === "hostile") for (const event of HOSTILE) response.write(event);
  let told = "";
  const tick = () => {
    const t = second();
    send("sample", sample(t, wall(t), kind));
    const now = incident(t, wall, kind);
    const key = now === null ? "" : JSON.stringify([now.verdict, now.actions.length, now.closed_at === null, Math.floor(t / 5)]);
    if (now !== null && key !== told) send("incident", now);
    told = key;
  };
  tick();
  const timer = setInterval(tick, 1000);
  request.on("close", () => clearInterval(timer));
}

const server = createServer(async (request, response) => {
  const path = new URL(request.url ?? "/", "http://mock").pathname;
  if (path === "/api/v1/stream") return stream(request, response);
  if (path === "/api/v1/status") return json(response, { schema: 1, targets: [], probes: PROBES });
  if (path === "/api/v1/incidents") {
    const now = incident(second(), wall, kind);
    return json(response, { schema: 1, items: now === null ? [] : [now], next: null });
  }
  if (path === "/favicon.ico") return response.writeHead(204).end();
  const file = FILES[path];
  if (file === undefined) return response.writeHead(404).end();
  const body = await readFile(new URL(`../dist/${file[0]}`, import.meta.url));
  return response.writeHead(200, { "content-type": file[1], "content-security-policy": CSP }).end(body);
});
server.listen(Number(values.port), "127.0.0.1", () => {
  console.log(JSON.stringify({ listen: `127.0.0.1:${server.address().port}` }));
});
