// Load that comes whether replies do or not, to two services behind one gateway, and the judgement of what came back: of each reply whether
// it is the one that its request asked for, and of each write how often it was done.
import { Agent, type IncomingMessage, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { reasons } from "../../pkg/gateway/src/reasons.ts";
import { type BookLine, readBook } from "./fault-instances.ts";
import { asRecord } from "./json.ts";

const replyLimitMs = 30_000;
const lookEveryMs = 2;

export interface OpenLoadOptions {
  /** Of the gateway: `/orders` and `/users` are the two services. */
  readonly url: string;
  readonly book: string;
  /** Default 200. */
  readonly perSecond?: number;
  /** Ahead of ids, so that two loads have different ones. Default `load`. */
  readonly name?: string;
  /** Of each request besides. */
  readonly headers?: Readonly<Record<string, string>> | (() => Readonly<Record<string, string>>);
}

export interface OpenLoadReport {
  readonly sent: number;
  /** Without a good reply. */
  readonly failed: number;
  /** `GET 502 upstream_reset` and how often. */
  readonly failures: Readonly<Record<string, number>>;
  /** What no fault excuses: replies of another request or service, writes done twice or answered and not done, refusals without a reason. */
  readonly wrong: readonly string[];
  readonly reads: number;
  readonly writes: number;
  /** What good replies took, in milliseconds, in the order in which their requests were sent. */
  readonly tookMs: readonly { readonly atMs: number; readonly ms: number; readonly service: string }[];
  /** Of this load alone. */
  readonly book: readonly BookLine[];
}

export interface OpenLoad {
  /** Sent so far. */
  sent(): number;
  failures(): Readonly<Record<string, number>>;
  stop(): Promise<OpenLoadReport>;
}

/** Four reads to each write; three to `orders` of four. */
export function startOpenLoad(options: OpenLoadOptions): OpenLoad {
  const { url, book, perSecond = 200, name = "load", headers = {} } = options;
  const agent = new Agent({ keepAlive: true });
  const failures: Record<string, number> = {};
  const wrong: string[] = [];
  const took: { atMs: number; ms: number; service: string }[] = [];
  const answered: string[] = [];
  const underWay = new Set<Promise<void>>();
  const startedAtMs = performance.now();
  let sent = 0;
  const over = new AbortController();

  const one = async (turn: number): Promise<void> => {
    const method = turn % 5 === 4 ? "POST" : "GET";
    const service = turn % 4 === 3 ? "users" : "orders";
    const id = `${name}-${turn}-${"i".repeat(turn % 17)}`;
    const body = method === "POST" ? `body-${id}` : "";
    const atMs = performance.now();
    const fail = (why: string): void => void (failures[`${method} ${why}`] = (failures[`${method} ${why}`] ?? 0) + 1);
    let reply: Awaited<ReturnType<typeof exchange>>;
    try {
      reply = await exchange(`${url}/${service}`, {
        agent,
        method,
        headers: { ...(typeof headers === "function" ? headers() : headers), "x-load-id": id },
        body,
      });
    } catch (error) {
      fail(error instanceof Error && "code" in error ? String(error.code) : String(error));
      return;
    }
    const { status, text, type } = reply;
    if (type?.startsWith("application/problem+json") === true) {
      const reason = String(asRecord(JSON.parse(text))["reason"]);
      if (!Object.hasOwn(reasons, reason)) wrong.push(`${status} of no known reason: ${text.slice(0, 200)}`);
      fail(`${status} ${reason}`);
    } else if (status !== 200) {
      if (text !== `refused ${id}`) wrong.push(`${status} ${JSON.stringify(text.slice(0, 80))} for ${id}`);
      fail(`${status} of the service`);
    } else {
      if (text !== `${service} ${id} ${body} ${"=".repeat(id.length * 37)}`)
        wrong.push(`${JSON.stringify(text.slice(0, 80))} for ${service} ${id}`);
      took.push({ atMs: atMs - startedAtMs, ms: performance.now() - atMs, service });
      if (method === "POST") answered.push(id);
    }
  };
  const running = (async () => {
    while (!over.signal.aborted) {
      const due = Math.floor(((performance.now() - startedAtMs) * perSecond) / 1_000);
      for (; sent < due; sent++) {
        const begun: Promise<void> = one(sent).finally(() => underWay.delete(begun));
        underWay.add(begun);
      }
      await delay(lookEveryMs);
    }
    while (underWay.size > 0) await Promise.all(underWay);
  })();
  return {
    sent: () => sent,
    failures: () => ({ ...failures }),
    async stop() {
      over.abort();
      await running;
      agent.destroy();
      const own = readBook(book).filter(({ id }) => id.startsWith(`${name}-`));
      const done = new Map<string, number>();
      for (const { id, kind } of own) if (kind === "done") done.set(id, (done.get(id) ?? 0) + 1);
      for (const [id, times] of done) if (times !== 1) wrong.push(`the write ${id} was done ${times} times`);
      for (const id of answered) if (!done.has(id)) wrong.push(`the write ${id} was answered and not done`);
      const writes = Math.floor(sent / 5);
      const failed = Object.values(failures).reduce((sum, each) => sum + each, 0);
      return { sent, failed, failures, wrong, reads: sent - writes, writes, tookMs: took, book: own };
    },
  };
}

interface ExchangeOptions {
  readonly agent: Agent;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

function exchange(
  url: string,
  { agent, method, headers, body }: ExchangeOptions,
): Promise<{ readonly status: number; readonly text: string; readonly type: string | undefined }> {
  const { promise, resolve, reject } = Promise.withResolvers<Awaited<ReturnType<typeof exchange>>>();
  const sent = request(url, { agent, method, headers, timeout: replyLimitMs });
  sent.once("timeout", () => sent.destroy(new Error(`no reply within ${replyLimitMs} ms`)));
  sent.once("error", reject);
  sent.once("response", (response: IncomingMessage) => {
    let text = "";
    response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    response.once("error", reject);
    response.once("end", () =>
      resolve({ status: response.statusCode ?? 0, text, type: response.headers["content-type"] }),
    );
  });
  sent.end(body);
  return promise;
}

/** Of numbers; 0 when there are none. @param share - 0 to 1: 0.99 is the 99th percentile. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
