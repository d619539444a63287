// Numbers and times as people read them. Pure; the locale is fixed so that a screenshot reads the same everywhere.

const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });

/** 12,345; short forms above a million. */
export function count(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9) return `${trim(value / 1e9)} G`;
  if (size >= 1e6) return `${trim(value / 1e6)} M`;
  if (size > 0 && size < 10 && !Number.isInteger(value)) return trim(value);
  return WHOLE.format(value);
}

/** Three significant digits without trailing zeros. */
function trim(value: number): string {
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  const fixed = value.toFixed(digits);
  return fixed.includes(".") ? fixed.replace(/\.?0+$/, "") : fixed;
}

/** Binary multiples: 21.4 MiB. */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let scaled = value;
  let unit = 0;
  while (Math.abs(scaled) >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${trim(scaled)} ${units[unit] ?? "B"}`;
}

/** Seconds as a span: 480 µs, 12.3 ms, 4.2 s, 3 min 20 s, 2 h 5 min, 3 d 4 h. */
export function duration(seconds: number): string {
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${trim(seconds * 1e6)} µs`;
  if (size < 1) return `${trim(seconds * 1e3)} ms`;
  if (size < 59.95) return `${trim(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return pair(whole, 60, "min", 1, "s");
  if (whole < 86_400) return pair(whole, 3600, "h", 60, "min");
  return pair(whole, 86_400, "d", 3600, "h");
}

function pair(seconds: number, big: number, bigUnit: string, small: number, smallUnit: string): string {
  const left = Math.floor((seconds % big) / small);
  const head = `${Math.floor(seconds / big)} ${bigUnit}`;
  return left === 0 ? head : `${head} ${left} ${smallUnit}`;
}

/** A duration in one unit, for ages that only need a glance: 42 s, 7 min, 3 h. */
export function age(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86_400)} d`;
}

/** An interval of time to come: "4 to 6 min", "50 s to 2 min". */
export function eta([from, to]: [number, number]): string {
  const [a, b] = [coarse(from), coarse(to)];
  if (a.number === b.number && a.unit === b.unit) return `${a.number} ${a.unit}`;
  return a.unit === b.unit ? `${a.number} to ${b.number} ${b.unit}` : `${a.number} ${a.unit} to ${b.number} ${b.unit}`;
}

function coarse(seconds: number): { number: number; unit: string } {
  if (seconds < 180) return { number: Math.round(seconds), unit: "s" };
  if (seconds < 5400) return { number: Math.round(seconds / 60), unit: "min" };
  if (seconds < 172_800) return { number: Math.round(seconds / 3600), unit: "h" };
  return { number: Math.round(seconds / 86_400), unit: "d" };
}

/** A share as per cent, with as many digits as it takes to tell it from 100. */
export function percent(ratio: number): string {
  const value = ratio * 100;
  const near = Math.abs(100 - value);
  const digits = near > 0 && near < 0.1 ? 3 : near > 0 && near < 1 ? 2 : value < 10 && value > 0 ? 1 : near < 10 ? 1 : 0;
  const fixed = value.toFixed(digits);
  return `${fixed.includes(".") ? fixed.replace(/\.?0+$/, "") : fixed} %`;
}

/** Local wall-clock time, 14:03:07. */
export function clock(milliseconds: number): string {
  const at = new Date(milliseconds);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

/** A measured value with its unit, where a unit has a better way to be written. */
export function measured(value: number | null, unit: string): string {
  if (value === null) return "–";
  if (unit === "s" || unit === "seconds") return duration(value);
  if (unit === "bytes" || unit === "B") return bytes(value);
  if (unit === "ratio") return percent(value);
  return `${count(value)}${unit === "" ? "" : ` ${unit}`}`;
}

/** `event_loop_stall` as words. */
export function words(kind: string): string {
  return kind.replaceAll("_", " ");
}
