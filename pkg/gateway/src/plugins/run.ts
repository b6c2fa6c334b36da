import { runInContext } from "@plinth/kernel";
import type { DeadlineList, Expiring } from "../server/deadlines.ts";
import type { Exchange } from "../server/exchange.ts";
import { answerForPlugin } from "../server/own-reply.ts";
import { pluginReasonOf } from "../reasons.ts";
import { PluginAnswer } from "./answer.ts";
import { pluginError, type PluginVerdict } from "./define.ts";
import type { OpenPlugin } from "./open-plugins.ts";
import { ReplyView } from "./reply-view.ts";
import { type RequestFacts, RequestView } from "./request-view.ts";

/** Puts a request through the plugins of a stage. @param next - Called at most once, when all of them have let it go on: at once unless one waits. */
export function passPlugins(
  exchange: Exchange,
  chain: readonly OpenPlugin[],
  facts: RequestFacts,
  next: () => void,
): void {
  const run = new PluginRun(exchange, chain, facts, next);
  exchange.pluginRun = run;
  run.go();
}

/** Shows plugins the head of a service's reply. @param headers - Name and value by turns, changed in place. */
export function showReply(
  exchange: Exchange,
  chain: readonly OpenPlugin[],
  status: number,
  headers: string[],
): undefined {
  const { requestId, method, core } = exchange;
  const facts = { status, method, requestId, routeName: exchange.taken?.name ?? "unmatched" };
  for (const { plugin, hooks, counts } of chain) {
    const began = core.clock.monotonicMs();
    let outcome: "passed" | "failed" = "failed";
    try {
      const result: unknown = runInContext(exchange, () => hooks.onReply?.(new ReplyView(plugin.name, facts, headers)));
      if (result !== undefined) throw new Error("onReply returned something, and may not wait");
      outcome = "passed";
    } catch (error) {
      throw pluginError(`plugin ${plugin.name} failed at the reply of route ${facts.routeName}`, error);
    } finally {
      counts.called(plugin.name, "onReply", outcome, core.clock.monotonicMs() - began);
    }
  }
}

/** One request on its way through the plugins of a stage. */
export class PluginRun implements Expiring {
  expiresAtMs = 0;
  before: Expiring | undefined;
  after: Expiring | undefined;
  list: DeadlineList | undefined;
  readonly #exchange: Exchange;
  readonly #chain: readonly OpenPlugin[];
  readonly #facts: RequestFacts;
  readonly #next: () => void;
  #at = 0;
  #beganMs = 0;
  #waiting: OpenPlugin | undefined;
  /** Made when somebody asks for its signal. */
  #ending: AbortController | undefined;
  #isEnded = false;

  constructor(exchange: Exchange, chain: readonly OpenPlugin[], facts: RequestFacts, next: () => void) {
    this.#exchange = exchange;
    this.#chain = chain;
    this.#facts = facts;
    this.#next = next;
  }

  go(): void {
    const { core } = this.#exchange;
    for (; this.#at < this.#chain.length; this.#at++) {
      const open = this.#chain[this.#at];
      if (!open?.hooks.onRequest) continue;
      this.#beganMs = core.clock.monotonicMs();
      let verdict: unknown;
      try {
        const view = new RequestView(this.#exchange, this.#facts, open.plugin, () => this.#signal());
        verdict = runInContext(this.#exchange, () => open.hooks.onRequest?.(view));
      } catch (error) {
        this.#failed(open, error);
        return;
      }
      if (isThenable(verdict)) {
        this.#wait(open, verdict);
        return;
      }
      if (!this.#settled(open, verdict)) return;
    }
    this.#isEnded = true;
    this.#next();
  }

  /** The plugin's own time is up. Where the route's was up first, that has answered. */
  expire(): void {
    const exchange = this.#exchange;
    try {
      if (!exchange.response.headersSent) exchange.refuse("deadline_exceeded");
    } catch (error) {
      exchange.fault(error);
    }
    this.end();
  }

  /** The request is over: what still waits is told, and what becomes of it does not matter. Safe to call twice. */
  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.list?.remove(this);
    const open = this.#waiting;
    if (!open) return;
    this.#waiting = undefined;
    this.#count(open, this.#exchange.reason === "deadline_exceeded" ? "timeout" : "aborted");
    this.#ending?.abort(new Error(`the request is over: ${this.#exchange.reason ?? "answered"}`));
  }

  #signal(): AbortSignal {
    this.#ending ??= new AbortController();
    if (this.#exchange.isFinished) this.#ending.abort(new Error("the request is over"));
    return this.#ending.signal;
  }

  #wait(open: OpenPlugin, verdict: PromiseLike<unknown>): void {
    const { core } = this.#exchange;
    this.#waiting = open;
    core.deadlines.list(open.plugin.timeoutMs).add(this, core.clock.monotonicMs());
    const over = (): boolean => {
      if (!this.#isEnded && this.#exchange.response.headersSent) this.end(); // answered: by the route's time, say
      if (this.#isEnded) return true; // late: counted when it ended, and an abort is what it was told to throw
      this.#waiting = undefined;
      this.list?.remove(this);
      return false;
    };
    Promise.resolve(verdict)
      .then(
        (settled) => {
          if (over() || !this.#settled(open, settled)) return;
          this.#at++;
          this.go();
        },
        (error: unknown) => {
          if (!over()) this.#failed(open, error);
        },
      )
      .catch((error: unknown) => this.#exchange.fault(error));
  }

  /** @returns Whether it goes on. */
  #settled(open: OpenPlugin, verdict: unknown): boolean {
    const { plugin } = open;
    if (verdict === undefined) {
      this.#count(open, "passed");
      return true;
    }
    if (!isAnswer(verdict)) {
      this.#failed(open, new Error("it returned something that neither request.reply nor request.reject has made"));
      return false;
    }
    this.#isEnded = true;
    const content = PluginAnswer.contentOf(verdict);
    this.#count(open, content.kind);
    const exchange = this.#exchange;
    if (exchange.isFinished || exchange.response.headersSent) return false;
    if (content.kind === "rejected") {
      exchange.reject(pluginReasonOf(plugin.name, content.reason), content.entry, content.headers);
    } else {
      exchange.list?.remove(exchange);
      answerForPlugin(exchange, content);
    }
    return false;
  }

  #failed(open: OpenPlugin, cause: unknown): void {
    this.#isEnded = true;
    this.#count(open, "failed");
    const { taken } = this.#exchange;
    const where = taken ? ` at a request of route ${taken.name}` : "";
    this.#exchange.fault(pluginError(`plugin ${open.plugin.name} failed${where}`, cause));
  }

  #count({ plugin, counts }: OpenPlugin, outcome: Parameters<OpenPlugin["counts"]["called"]>[2]): void {
    const { core, span } = this.#exchange;
    const tookMs = core.clock.monotonicMs() - this.#beganMs;
    counts.called(plugin.name, "onRequest", outcome, tookMs);
    if (!span.sampled) return;
    span.setAttribute(`plinth.plugin.${plugin.name}.outcome`, outcome);
    span.setAttribute(`plinth.plugin.${plugin.name}.duration_ms`, Math.round(tookMs * 1e3) / 1e3);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

function isAnswer(value: unknown): value is NonNullable<PluginVerdict> {
  return value instanceof PluginAnswer;
}
