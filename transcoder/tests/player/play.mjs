// Watches a live playlist as a viewer does: hls.js in a real browser, on a page of another origin.
//
//   node play.mjs PLAYLIST_URL PICTURE.png [--past SECONDS] [--timeout SECONDS]
//
// Says `playing POSITION` on standard output once it plays and is past --past (2), with a picture of the page in
// PICTURE.png, and `ended {…}` at the end of the stream, with what it has seen as JSON. Fails on a fatal error of the
// player, an error of the page, a browser that cannot play H.264, and out of time. Exit 0 only if all held.
// Needs Chromium (CHROMIUM names another than /usr/bin/chromium).

import { createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values, positionals } = parseArgs({ allowPositionals: true, options: {
  past: { type: "string", default: "2" }, timeout: { type: "string", default: "60" },
} });
const [url, picture] = positionals;
if (url === undefined || picture === undefined) {
  console.error("usage: play.mjs PLAYLIST_URL PICTURE.png [--past SECONDS] [--timeout SECONDS]");
  process.exit(2);
}
const timeout = Number(values.timeout) * 1000;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required", "--mute-audio"];
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const FILES = {
  "/": ["text/html", here("page.html")],
  "/hls.js": ["text/javascript", here("node_modules/hls.js/dist/hls.js")],
};

const server = createServer((request, response) => {
  const [type, path] = FILES[request.url] ?? [];
  if (path === undefined) return void response.writeHead(204).end();
  response.writeHead(200, { "Content-Type": type });
  createReadStream(path).pipe(response);
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

const problems = [];
// The last requests of the player, told when something is wrong.
const asked = [];
const profile = await mkdtemp(join(tmpdir(), "snowshed-player-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS, viewport: { width: 720, height: 520 },
});
try {
  const page = browser.pages()[0] ?? (await browser.newPage());
  page.setDefaultTimeout(timeout);
  page.on("pageerror", (error) => problems.push(`page: ${error.message}`));
  page.on("response", (response) => asked.push(`${response.status()} ${response.url().split("/").pop()}`));
  page.on("requestfailed", (request) => asked.push(`failed ${request.url().split("/").pop()}`));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const plays = await page.evaluate(() => MediaSource.isTypeSupported('video/mp4; codecs="avc1.42c01e,mp4a.40.2"'));
  if (!plays) throw new Error("this browser cannot play H.264 and AAC (Debian's chromium can)");
  await page.evaluate((playlist) => window.play(playlist), url);
  await until(page, "past", Number(values.past));
  await page.screenshot({ path: picture });
  console.log(`playing ${(await page.evaluate(() => window.state())).position}`);
  await until(page, "ended", 0);
  console.log(`ended ${JSON.stringify(await page.evaluate(() => window.state()))}`);
} catch (error) {
  problems.push(error instanceof Error ? error.message : String(error));
} finally {
  await browser.close();
  await rm(profile, { recursive: true, force: true });
  server.close();
}
for (const problem of problems) console.error(problem);
if (problems.length > 0) console.error(`asked for: ${asked.slice(-24).join(", ")}`);
process.exit(problems.length === 0 ? 0 : 1);

// Waits for a position or the end; a fatal error of the player is the end of waiting.
async function until(page, what, position) {
  const handle = await page.waitForFunction(([what, position]) => {
    const now = window.state();
    if (now.fatal.length > 0) return { ...now, what: "fatal" };
    return (what === "ended" ? now.ended : now.position > position) ? now : null;
  }, [what, position]).catch(async (error) => {
    throw new Error(`${error.message}\nwaiting for ${what} ${position}: ${JSON.stringify(await page.evaluate(() => window.state()))}`);
  });
  const found = await handle.jsonValue();
  if (found.what === "fatal") throw new Error(`the player gave up: ${JSON.stringify(found)}`);
}
