import { constants, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Clock, Metrics } from "@plinth/kernel";

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

type Kind = keyof typeof budgets;

/** Ends connections that take more than their budget: GOAWAY with ENHANCE_YOUR_CALM, and all work for them is cancelled. */
export class Http2Limits {
  readonly #clock: Clock;
  readonly #count: (kind: Kind) => void;

  constructor({ clock, metrics }: { readonly clock: Clock; readonly metrics: Metrics }) {
    this.#clock = clock;
    const calmed = metrics.counter({
      name: "http_server_http2_floods_total",
      help: "HTTP/2 connections ended because they reset streams, or sent PING or SETTINGS, too often.",
      labels: ["kind"],
    });
    this.#count = (kind) => calmed.inc({ kind });
  }

  watch(session: ServerHttp2Session): void {
    const left = new Map<Kind, { tokens: number; atMs: number }>();
    const spend = (kind: Kind): void => {
      const { burst, perSecond } = budgets[kind];
      const atMs = this.#clock.monotonicMs();
      const before = left.get(kind) ?? { tokens: burst, atMs };
      const tokens = Math.min(burst, before.tokens + ((atMs - before.atMs) / 1e3) * perSecond) - 1;
      left.set(kind, { tokens, atMs });
      if (tokens >= 0 || session.destroyed) return;
      this.#count(kind);
      calm(session, kind);
    };
    session.on("stream", (stream: ServerHttp2Stream) => {
      stream.once("close", () => {
        if (stream.rstCode !== constants.NGHTTP2_NO_ERROR) spend("reset");
      });
    });
    session.on("ping", () => spend("ping"));
    session.on("remoteSettings", () => spend("settings"));
  }
}

function calm(session: ServerHttp2Session, kind: Kind): void {
  const reason = new Error(`too many of a kind on one HTTP/2 connection: ${kind}`);
  session.destroy(reason, constants.NGHTTP2_ENHANCE_YOUR_CALM);
}
