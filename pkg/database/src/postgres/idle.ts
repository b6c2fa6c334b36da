import type { Clock, Scheduled } from "@plinth/kernel";
import type { Connection } from "./connection.ts";

export interface IdleOptions {
  readonly clock: Clock;
  /** One that nobody used for so long is closed, in milliseconds. */
  readonly idleTimeoutMs: number;
  /** How many connections there are beyond those that are kept open anyhow. */
  readonly surplus: () => number;
  readonly onExpired: (connection: Connection, reason: "idle" | "lifetime") => void;
}

interface Idle {
  readonly connection: Connection;
  readonly sinceMs: number;
}

/** Connections that nobody uses, the last used on top: what is not needed stays below and runs out. */
export class IdleConnections {
  readonly #options: IdleOptions;
  /** The longest unused first. */
  #entries: Idle[] = [];
  #sweep: Scheduled | undefined;
  #sweepAtMs = Infinity;

  constructor(options: IdleOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.length;
  }

  push(connection: Connection): void {
    this.#entries.push({ connection, sinceMs: this.#options.clock.monotonicMs() });
    this.#schedule();
  }

  /** The one used last, unless its time is up. */
  pop(): Connection | undefined {
    for (let entry = this.#entries.pop(); entry; entry = this.#entries.pop()) {
      const { connection } = entry;
      if (connection.retireAtMs === Infinity || connection.retireAtMs > this.#options.clock.monotonicMs()) {
        return connection;
      }
      this.#options.onExpired(connection, "lifetime");
    }
    return undefined;
  }

  /** @returns false when it was not there. */
  remove(connection: Connection): boolean {
    const index = this.#entries.findIndex((entry) => entry.connection === connection);
    if (index >= 0) this.#entries.splice(index, 1);
    return index >= 0;
  }

  /** All of them, which then are here no more. */
  drain(): readonly Connection[] {
    return this.#entries.splice(0).map(({ connection }) => connection);
  }

  close(): void {
    this.#sweep?.cancel();
  }

  #schedule(): void {
    const dueMs = this.#nextDueMs();
    if (dueMs >= this.#sweepAtMs) return;
    this.#sweep?.cancel();
    this.#sweepAtMs = dueMs;
    const { clock } = this.#options;
    const delayMs = Math.max(1, dueMs - clock.monotonicMs());
    this.#sweep = clock.schedule(delayMs, () => this.#expire(), { keepAlive: false });
  }

  /** Looks at the newest and the oldest alone: it is asked at each release. {@link #expire} looks at all. */
  #nextDueMs(): number {
    const [oldest] = this.#entries;
    const newest = this.#entries.at(-1);
    if (!oldest || !newest) return Infinity;
    const idleDueMs = this.#options.surplus() > 0 ? oldest.sinceMs + this.#options.idleTimeoutMs : Infinity;
    return Math.min(idleDueMs, oldest.connection.retireAtMs, newest.connection.retireAtMs);
  }

  #expire(): void {
    const { clock, idleTimeoutMs, surplus, onExpired } = this.#options;
    this.#sweepAtMs = Infinity;
    const nowMs = clock.monotonicMs();
    let spare = surplus();
    const expired: [Connection, "idle" | "lifetime"][] = [];
    const kept = this.#entries.filter(({ connection, sinceMs }) => {
      const isOld = connection.retireAtMs <= nowMs;
      const isUnused = spare > 0 && sinceMs + idleTimeoutMs <= nowMs;
      if (!isOld && !isUnused) return true;
      spare--;
      expired.push([connection, isOld ? "lifetime" : "idle"]);
      return false;
    });
    this.#entries = kept;
    for (const [connection, reason] of expired) onExpired(connection, reason);
    this.#schedule();
  }
}
