// Load on keep-alive connections, each with one request under way at a time: as fast as replies come, or at a rate of its own.
import { Agent, type IncomingMessage, request } from "node:http";
import { Agent as TlsAgent, request as tlsRequest } from "node:https";
import { setTimeout as delay } from "node:timers/promises";
import { asRecord } from "./json.ts";
import { until } from "./until.ts";

export interface LoadRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface LoadOptions {
  readonly url: string;
  /** Default 4. */
  readonly connections?: number;
  /** Whom the client trusts; with `https`. */
  readonly ca?: string;
  /** Requests begun each second by all connections together, while there is one free. Default: as many as get replies. */
  readonly perSecond?: number;
  /** What the next request is. Default: GET without a body. */
  readonly next?: () => LoadRequest;
}

export interface LoadReport {
  /** How often each status came; with the reason code of a problem where there is one: `200`, `503 no_instance`. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Connections that were refused. Each ends its loop. */
  readonly refused: number;
  /**
   * New connections that were reset without a word: a server that stops listening resets those that the system has made
   * and it has not accepted yet, and no server can prevent that.
   */
  readonly unaccepted: number;
  /** Requests that got no whole reply, and why. */
  readonly broken: readonly string[];
}

export interface Load {
  /** Waits until so many more replies have come. */
  untilMore(replies: number): Promise<void>;
  /** What came so far. */
  report(): LoadReport;
  /** What replies took so far, in milliseconds; 0 while there are none. */
  durations(): { readonly medianMs: number; readonly slowestMs: number };
  /** Each loop ends after its next reply. */
  stop(): Promise<LoadReport>;
  /** Resolves when every loop has ended by itself, because the server takes no more connections. */
  readonly ended: Promise<void>;
}

// A reply that does not come is a broken one.
const replyLimitMs = 10_000;
const moreLimitMs = 20_000;
// What a reset is called depends on whether it is met by the read or by the write.
const resets: ReadonlySet<string | undefined> = new Set(["ECONNRESET", "EPIPE"]);

export function startLoad({ url, connections = 4, ca, perSecond, next = () => ({}) }: LoadOptions): Load {
  const statuses: Record<string, number> = {};
  const broken: string[] = [];
  let refused = 0;
  let unaccepted = 0;
  let replies = 0;
  const tookMs: number[] = [];
  const startedAtMs = performance.now();
  let begun = 0;
  const turn = async (): Promise<void> => {
    if (perSecond === undefined) return;
    const dueAtMs = startedAtMs + (begun++ * 1_000) / perSecond;
    await delay(Math.max(0, dueAtMs - performance.now()));
  };
  const stopping = new AbortController();

  const loop = async (): Promise<void> => {
    const agent =
      ca === undefined
        ? new Agent({ keepAlive: true, maxSockets: 1 })
        : new TlsAgent({ keepAlive: true, maxSockets: 1, ca });
    try {
      while (!stopping.signal.aborted) {
        await turn();
        const askedAtMs = performance.now();
        const outcome = await ask(url, agent, next());
        if (outcome.kind === "refused") {
          refused++;
          return;
        }
        if (outcome.kind === "unaccepted") unaccepted++;
        else if (outcome.kind === "broken") broken.push(outcome.why);
        else {
          statuses[outcome.status] = (statuses[outcome.status] ?? 0) + 1;
          tookMs.push(performance.now() - askedAtMs);
          replies++;
        }
      }
    } finally {
      agent.destroy();
    }
  };
  const ended = Promise.all(Array.from({ length: connections }, loop)).then(() => {});
  const report = (): LoadReport => ({ statuses: { ...statuses }, refused, unaccepted, broken: [...broken] });
  return {
    async untilMore(more) {
      const wanted = replies + more;
      await until(
        () => replies >= wanted,
        () => `${more} more replies; there are ${JSON.stringify(report())}`,
        moreLimitMs,
      );
    },
    report,
    durations() {
      const sorted = tookMs.toSorted((a, b) => a - b);
      return { medianMs: sorted[Math.floor(sorted.length / 2)] ?? 0, slowestMs: sorted.at(-1) ?? 0 };
    },
    ended,
    async stop() {
      stopping.abort();
      await ended;
      return report();
    },
  };
}

type Outcome =
  | { readonly kind: "reply"; readonly status: string }
  | { readonly kind: "refused" }
  | { readonly kind: "unaccepted" }
  | { readonly kind: "broken"; readonly why: string };

function ask(url: string, agent: Agent, { method = "GET", headers = {}, body }: LoadRequest): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const sent = (agent instanceof TlsAgent ? tlsRequest : request)(url, {
    agent,
    method,
    headers,
    timeout: replyLimitMs,
  });
  let hasReply = false;
  const onError = (error: Error & { code?: string }): void => {
    if (error.code === "ECONNREFUSED") resolve({ kind: "refused" });
    else if (resets.has(error.code) && !sent.reusedSocket && !hasReply) resolve({ kind: "unaccepted" });
    else
      resolve({
        kind: "broken",
        why: `${error.code ?? error.message} on a ${sent.reusedSocket ? "kept" : "new"} connection`,
      });
  };
  sent.once("response", (response: IncomingMessage) => {
    hasReply = true;
    let text = "";
    response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    response.once("end", () =>
      resolve(
        response.complete
          ? { kind: "reply", status: statusOf(response, text) }
          : { kind: "broken", why: "the reply was cut short" },
      ),
    );
    response.once("error", onError);
  });
  sent.once("timeout", () => sent.destroy(new Error(`no reply within ${replyLimitMs} ms`)));
  sent.once("error", onError);
  sent.end(body);
  return promise;
}

function statusOf({ statusCode, headers }: IncomingMessage, text: string): string {
  if (!headers["content-type"]?.startsWith("application/problem+json")) return String(statusCode);
  const problem = asRecord(JSON.parse(text));
  return `${statusCode} ${String(problem["reason"] ?? problem["code"])}`;
}
