// Looks at a running workbench as a reader would, in a real browser, and fails on anything that is not right.
//
//   node e2e/screenshot.mjs URL OUT.png [--wait-incident] [--timeout SECONDS]
//
// Checks: no error on the console or the page, live data in the key elements, with --wait-incident also an open or closed
// incident with its cause. Writes OUT.png (dark) and beside it OUT-light.png, OUT-phone.png. Exit 0 only if all held.
// Needs Chromium (CHROMIUM names another than /usr/bin/chromium).

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values, positionals } = parseArgs({ allowPositionals: true, options: {
  "wait-incident": { type: "boolean", default: false }, timeout: { type: "string", default: "60" },
} });
const [url, out] = positionals;
if (url === undefined || out === undefined || !out.endsWith(".png")) {
  console.error("usage: screenshot.mjs URL OUT.png [--wait-incident] [--timeout SECONDS]");
  process.exit(2);
}
const timeout = Number(values.timeout) * 1000;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const VIEWS = [
  { name: "dark", width: 1440, height: 900, file: out },
  { name: "light", width: 1440, height: 900, file: out.replace(/\.png$/, "-light.png") },
  { name: "phone", width: 390, height: 844, file: out.replace(/\.png$/, "-phone.png") },
];

const problems = [];
const profile = await mkdtemp(join(tmpdir(), "snowshed-browser-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS, colorScheme: "dark",
  viewport: { width: VIEWS[0].width, height: VIEWS[0].height },
});
try {
  const page = browser.pages()[0] ?? (await browser.newPage());
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(`console ${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`page: ${error.message}`));
  page.on("dialog", (dialog) => {
    problems.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.goto(url, { timeout });
  await look(page);
} catch (error) {
  problems.push(error instanceof Error ? error.message : String(error));
} finally {
  await browser.close();
  await rm(profile, { recursive: true, force: true });
}
for (const problem of problems) console.error(problem);
process.exit(problems.length === 0 ? 0 : 1);

async function look(page) {
  const text = async (selector) => (await page.locator(selector).first().textContent({ timeout }))?.trim() ?? "";
  const wants = (what, holds, got) => {
    if (holds) console.log(`${what}: ${got}`);
    else problems.push(`${what}: got ${JSON.stringify(got)}`);
  };
  await page.locator('.link[data-state="live"]').waitFor({ timeout });
  await page.locator(".target").first().waitFor({ timeout });
  if (values["wait-incident"]) await page.locator(".incident .cause.first").first().waitFor({ timeout });

  const before = await text(".link");
  await page.waitForFunction((old) => document.querySelector(".link")?.textContent !== old, before, { timeout });
  wants("samples keep coming", (await text(".link")).startsWith("Live"), await text(".link"));
  wants("target", /pid \d+/.test(await text(".target .facts")), await text(".target"));
  const fds = await text("#panel-fds .value");
  wants("descriptors", Number.parseInt(fds.replace(/,/g, ""), 10) > 0, fds);
  wants("panels", (await page.locator(".panel").count()) === 6, String(await page.locator(".panel").count()));
  const painted = await page.evaluate(() => {
    const canvas = document.querySelector("#panel-fds canvas");
    const pixels = canvas?.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
    const colours = new Set();
    for (let at = 0; at < pixels.length; at += 4) if (pixels[at + 3] > 0) colours.add((pixels[at] << 16) | (pixels[at + 1] << 8) | pixels[at + 2]);
    return colours.size;
  });
  wants("the plot is painted", painted > 3, `${painted} colours`);
  if (values["wait-incident"]) {
    wants("incident", (await text(".incident .headline")) !== "", await text(".incident .headline"));
    wants("cause", (await text(".cause.first .kind")) !== "", await text(".cause.first .kind"));
    wants("confidence", /\d %/.test(await text(".cause.first .confidence")), await text(".cause.first .confidence"));
  }
  for (const view of VIEWS) {
    await page.emulateMedia({ colorScheme: view.name === "light" ? "light" : "dark" });
    await page.setViewportSize({ width: view.width, height: view.height });
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    wants(`${view.name} fits its width`, wide <= 0, `${wide} px over`);
    await page.screenshot({ path: view.file, animations: "disabled", fullPage: view.name === "phone" });
    console.log(view.file);
  }
}
