// The connection to the agent: opens the stream, reads the lists, and tries again by itself when the agent goes away.

import type { Incident, Sample, Status } from "./api";
import * as decode from "./decode";

export type Link =
  | { state: "connecting" }
  | { state: "live" }
  | { state: "waiting"; retryAt: number };

export interface Handlers {
  sample: (sample: Sample) => void;
  incident: (incident: Incident, known: boolean) => void;
  status: (status: Status) => void;
  link: (link: Link) => void;
}

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 10_000;
/** The agent sends every second; silence for this long is a dead connection that TCP has not noticed. */
const SILENCE_MS = 6000;
const STATUS_EVERY_MS = 10_000;
const FETCH_TIMEOUT_MS = 5000;

/** The wait before attempt `attempt` (0 is the first retry): doubled each time, spread so that tabs do not line up. */
export function backoff(attempt: number, random: number): number {
  return Math.min(FIRST_RETRY_MS * 2 ** Math.min(attempt, 8), LAST_RETRY_MS) * (0.75 + 0.5 * random);
}

export class Stream {
  private source: EventSource | null = null;
  private attempt = 0;
  private retry = 0;
  private silence = 0;
  private polling = 0;

  constructor(private readonly base: string, private readonly handlers: Handlers) {}

  /** Connects now, whatever was planned. */
  open(): void {
    this.close();
    this.handlers.link({ state: "connecting" });
    const source = new EventSource(`${this.base}/api/v1/stream`);
    this.source = source;
    source.addEventListener("open", () => this.opened());
    source.addEventListener("error", () => this.lost());
    source.addEventListener("sample", (event) => this.heard(event, (value) => {
      const sample = decode.sample(value);
      if (sample !== null) this.handlers.sample(sample);
    }));
    source.addEventListener("incident", (event) => this.heard(event, (value) => {
      const incident = decode.incident(value);
      if (incident !== null) this.handlers.incident(incident, false);
    }));
    this.listen();
  }

  private opened(): void {
    this.attempt = 0;
    this.handlers.link({ state: "live" });
    void this.readIncidents();
    void this.readStatus();
    window.clearInterval(this.polling);
    this.polling = window.setInterval(() => void this.readStatus(), STATUS_EVERY_MS);
  }

  private heard(event: Event, use: (value: unknown) => void): void {
    this.listen();
    if (event instanceof MessageEvent && typeof event.data === "string") use(decode.parse(event.data));
  }

  private listen(): void {
    window.clearTimeout(this.silence);
    this.silence = window.setTimeout(() => this.lost(), SILENCE_MS);
  }

  private lost(): void {
    this.close();
    const wait = backoff(this.attempt, Math.random());
    this.attempt += 1;
    this.retry = window.setTimeout(() => this.open(), wait);
    this.handlers.link({ state: "waiting", retryAt: Date.now() + wait });
  }

  private close(): void {
    this.source?.close();
    this.source = null;
    window.clearTimeout(this.retry);
    window.clearTimeout(this.silence);
    window.clearInterval(this.polling);
  }

  private async readIncidents(): Promise<void> {
    const value = await this.read("/api/v1/incidents?limit=100");
    for (const incident of decode.incidents(value)) this.handlers.incident(incident, true);
  }

  private async readStatus(): Promise<void> {
    const value = await this.read("/api/v1/status");
    if (value !== undefined) this.handlers.status(decode.status(value));
  }

  /** JSON of an address, or undefined: the stream's own state tells whether the agent is there. */
  private async read(path: string): Promise<unknown> {
    const stop = new AbortController();
    const timer = window.setTimeout(() => stop.abort(), FETCH_TIMEOUT_MS);
    try {
      const answer = await fetch(this.base + path, { signal: stop.signal, headers: { accept: "application/json" } });
      return answer.ok ? ((await answer.json()) as unknown) : undefined;
    } catch {
      return undefined;
    } finally {
      window.clearTimeout(timer);
    }
  }
}
