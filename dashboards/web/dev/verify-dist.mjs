// Proves that the checked-in dist/ is what the sources give: builds into a fresh directory and compares byte for byte.

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "vite";

const fresh = await mkdtemp(join(tmpdir(), "snowshed-dist-"));
try {
  await build({ build: { outDir: fresh }, logLevel: "warn" });
  const names = (await readdir(fresh)).sort();
  const kept = (await readdir("dist")).sort();
  const wrong = names.join() === kept.join() ? [] : [`files: ${kept.join()} are kept, ${names.join()} are built`];
  for (const name of names.filter((each) => kept.includes(each))) {
    const [a, b] = await Promise.all([readFile(join(fresh, name)), readFile(join("dist", name))]);
    if (!a.equals(b)) wrong.push(`dist/${name} does not match its sources; run npm run build`);
  }
  for (const line of wrong) console.error(line);
  if (wrong.length === 0) console.log(`dist matches its sources: ${names.join(", ")}`);
  process.exitCode = wrong.length === 0 ? 0 : 1;
} finally {
  await rm(fresh, { recursive: true, force: true });
}
