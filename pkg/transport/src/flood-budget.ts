import { constants, type ServerHttp2Session } from "node:http2";
import type { Clock } from "@plinth/kernel";

/** What one connection may do of a kind: at once, and again each second. */
interface Budget {
  readonly burst: number;
  readonly perSecond: number;
}

/**
 * Streams that end by a reset, whoever sends it: what a caller cancels has begun work, and so has what it makes us reset
 * (CVE-2023-44487, CVE-2025-8671). And frames that cost us an answer (CVE-2019-9512, CVE-2019-9515).
 */
const budgets = {
  reset: { burst: 100, perSecond: 20 },
  ping: { burst: 50, perSecond: 5 },
  settings: { burst: 20, perSecond: 1 },
} satisfies Record<string, Budget>;

export type FloodKind = keyof typeof budgets;

/** What one connection of HTTP/2 has left to do of what costs more to answer than to send. */
export class FloodBudget {
  readonly #clock: Clock;
  readonly #left = new Map<FloodKind, { tokens: number; atMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @returns False once there is nothing left: the connection is to be ended. */
  spend(kind: FloodKind): boolean {
    const { burst, perSecond } = budgets[kind];
    const atMs = this.#clock.monotonicMs();
    const before = this.#left.get(kind) ?? { tokens: burst, atMs };
    const tokens = Math.min(burst, before.tokens + ((atMs - before.atMs) / 1e3) * perSecond) - 1;
    this.#left.set(kind, { tokens, atMs });
    return tokens >= 0;
  }

  /** One more may come, up to the burst: for what a connection does that is as it should be. */
  earn(kind: FloodKind): void {
    const left = this.#left.get(kind);
    if (left) left.tokens = Math.min(budgets[kind].burst, left.tokens + 1);
  }
}

/** GOAWAY with ENHANCE_YOUR_CALM, and all work for the connection is cancelled. */
export function calm(session: ServerHttp2Session, kind: FloodKind): void {
  const reason = new Error(`too many of a kind on one HTTP/2 connection: ${kind}`);
  session.destroy(reason, constants.NGHTTP2_ENHANCE_YOUR_CALM);
}
