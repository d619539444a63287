// The recent past of one target as columns. Fixed memory: 15 min of one sample a second, 900 rows of 15 numbers (108 KB).
// NaN inside, null outside: "not known" is drawn as a gap, never as zero.

/** The columns, in the order of a row. */
export const COLUMNS = [
  "t", "live", "orphaned", "fdLimit", "busyMax", "busyMean", "stalls", "p50", "p99", "rssAnon", "rss", "inFlight",
  "limit", "retransmits", "requests",
] as const;

export type Column = (typeof COLUMNS)[number];
export type Row = Record<Column, number | null>;

export const CAPACITY = 900;

/** Samples further apart than this, in seconds, are not joined by a line. */
const GAP = 4;

export class Ring {
  private readonly columns: Record<Column, Float64Array>;
  private next = 0;
  private used = 0;

  constructor(private readonly capacity = CAPACITY) {
    const columns = {} as Record<Column, Float64Array>;
    for (const name of COLUMNS) columns[name] = new Float64Array(capacity);
    this.columns = columns;
  }

  get length(): number {
    return this.used;
  }

  /** Time of the newest row, seconds; null while empty. */
  get newest(): number | null {
    return this.used === 0 ? null : (this.columns.t[(this.next + this.capacity - 1) % this.capacity] ?? null);
  }

  /** Time of the oldest row that is kept, seconds; null while empty. */
  get oldest(): number | null {
    const first = (this.next + this.capacity - this.used) % this.capacity;
    return this.used === 0 ? null : (this.columns.t[first] ?? null);
  }

  /** Appends a row; one that is not newer than the last is refused. */
  push(row: Row): boolean {
    const t = row.t;
    const last = this.newest;
    if (t === null || (last !== null && t <= last)) return false;
    if (last !== null && t - last > GAP) this.write(null, (t + last) / 2);
    this.write(row, t);
    return true;
  }

  private write(row: Row | null, t: number): void {
    for (const name of COLUMNS) this.columns[name][this.next] = row?.[name] ?? Number.NaN;
    this.columns.t[this.next] = t;
    this.next = (this.next + 1) % this.capacity;
    this.used = Math.min(this.used + 1, this.capacity);
  }

  /** The columns from `since` (seconds) on, oldest first. */
  read(names: readonly Column[], since = -Infinity): (number | null)[][] {
    const out: (number | null)[][] = names.map(() => []);
    const start = (this.next + this.capacity - this.used) % this.capacity;
    for (let step = 0; step < this.used; step += 1) {
      const index = (start + step) % this.capacity;
      if ((this.columns.t[index] ?? 0) < since) continue;
      names.forEach((name, column) => {
        const value = this.columns[name][index] ?? Number.NaN;
        out[column]?.push(Number.isNaN(value) ? null : value);
      });
    }
    return out;
  }
}
