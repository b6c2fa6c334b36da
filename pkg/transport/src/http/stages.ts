import { currentContext, messageOf, runInContext, runOutsideContext } from "@plinth/kernel";
import { type Layer, type Middleware, orderOf } from "../middleware.ts";
import { runMiddleware } from "../run-middleware.ts";
import { authStage } from "./auth.ts";
import { clientAddressStage } from "./client-address.ts";
import type { RequestCoreOptions } from "./core.ts";
import { corsStage } from "./cors.ts";
import type { HttpExchange } from "./exchange.ts";
import { instanceStage } from "./instance.ts";
import { limitsStage } from "./limits.ts";
import { securityHeadersStage } from "./security-headers.ts";
import type { Reached } from "./observe.ts";

/**
 * A layer's part in one request: undefined goes on inwards, true has answered, and a throw refuses as that of a handler would.
 * Without a promise where there is nothing to wait for: most requests pass all stages in one go.
 */
export type Stage = (exchange: HttpExchange) => true | undefined | Promise<true | undefined>;

/** Makes a layer's stage when the server is made; undefined where the settings turn it off, so that no request pays for it. */
export type StageMaker = (options: RequestCoreOptions) => Stage | undefined;

/**
 * To add a layer: write its {@link StageMaker} in a file of its own, and name it here. That is all: its place is that of its name in
 * `layers` (../middleware.ts). Outside of `route` it runs before fastify has looked for a route; inside, in the first onRequest hook,
 * for unmatched routes too, where `exchange.route` is known and `exchange.reply` is the reply of fastify. In a stage:
 *
 * - headers for whatever the reply will be, an error included: `exchange.setReplyHeader(name, value)`;
 * - to refuse: throw an `AppError`; it leaves as problem+json, inside of `route` in the form of the route's callers;
 * - to answer: `exchange.response.writeHead(...).end()`, before fastify has begun only, then return true;
 * - what is measured, logged and bounded by the deadline is the layers' further out, and needs nothing here.
 *
 * The other layers, from `recovery` to `deadline`, are what `RequestCore` does for each request by itself.
 */
const makers: Readonly<Partial<Record<Layer, StageMaker>>> = {
  "client-address": clientAddressStage,
  instance: instanceStage,
  limits: limitsStage,
  "security-headers": securityHeadersStage,
  cors: corsStage,
  auth: authStage,
};

type Step = Stage | Middleware;

/** Ways out of the stages, for those that cannot go on inwards. None of them throws. */
export interface OnionHost {
  /** A stage or middleware refuses what has not reached fastify. */
  refuse(thrown: unknown, exchange: HttpExchange): void;
  /** What a middleware throws, or does wrong, when it is too late for its caller. */
  failedAround(thrown: unknown, exchange: HttpExchange): void;
}

/** All layers that act on requests one by one, and the user's middlewares between them. */
export class Onion {
  /** No middleware stands outside of `overload`: a request can be refused before there is an exchange. */
  readonly shedsFirst: boolean;
  readonly #host: OnionHost;
  readonly #outer: readonly Step[];
  /** The same, where none of them is a middleware. */
  readonly #outerStages: readonly Stage[] | undefined;
  readonly #inner: readonly Step[];
  /** How many of the outer steps stand outside of these layers. */
  readonly #before: Readonly<Record<"log-context" | "metrics" | "access-log", number>>;

  constructor(options: RequestCoreOptions, host: OnionHost, overload: Stage) {
    const order = orderOf(options.middlewares ?? []);
    const route = order.indexOf("route");
    const toSteps = (from: number, to: number): Step[] =>
      order.slice(from, to).flatMap((place): Step[] => {
        if (typeof place === "object") return [place];
        const stage = place === "overload" && !this.shedsFirst ? overload : makers[place]?.(options);
        return stage ? [stage] : [];
      });
    this.#host = host;
    this.shedsFirst = order.slice(0, order.indexOf("overload")).every((place) => typeof place !== "object");
    this.#outer = toSteps(0, route);
    const stages = this.#outer.filter((step) => typeof step === "function");
    this.#outerStages = stages.length === this.#outer.length ? stages : undefined;
    this.#inner = toSteps(route, order.length);
    const before = (layer: Layer): number => toSteps(0, order.indexOf(layer)).length;
    this.#before = {
      "log-context": before("log-context"),
      metrics: before("metrics"),
      "access-log": before("access-log"),
    };
  }

  get isInnerEmpty(): boolean {
    return this.#inner.length === 0;
  }

  /** The layers that a finished request had reached. */
  reachedBy({ heldAt }: HttpExchange): Reached {
    if (heldAt === Infinity) return everything;
    return { metrics: heldAt >= this.#before.metrics, accessLog: heldAt >= this.#before["access-log"] };
  }

  /** Runs what stands outside of `route`, then `goOn` in the context of the request. */
  enter(exchange: HttpExchange, goOn: () => void): void {
    const stages = this.#outerStages;
    if (stages) runInContext(exchange, () => this.#pass(stages, exchange, goOn));
    else this.#enterAround(exchange, goOn);
  }

  /** Most servers have no middleware, and most stages nothing to wait for. */
  #pass(stages: readonly Stage[], exchange: HttpExchange, goOn: () => void): void {
    for (let at = 0; at < stages.length; at++) {
      let result: ReturnType<Stage>;
      try {
        result = stages[at]?.(exchange);
      } catch (thrown) {
        this.#host.refuse(thrown, exchange);
        return;
      }
      if (result === undefined) continue;
      if (result === true) return;
      const refuse = (thrown: unknown): void => this.#host.refuse(thrown, exchange);
      this.#wait(result, stages, at, { exchange, goOn, refuse, contextAt: 0 });
      return;
    }
    goOn();
  }

  #enterAround(exchange: HttpExchange, goOn: () => void): void {
    const refuse = (thrown: unknown): void => this.#host.refuse(thrown, exchange);
    const contextAt = this.#before["log-context"];
    const passage: Passage = { exchange, goOn, refuse, contextAt };
    if (contextAt > 0) runOutsideContext(() => this.#run(this.#outer, 0, passage));
    else this.#run(this.#outer, 0, passage);
  }

  /**
   * Runs what stands inside of `route`.
   * @param done - Called with what refuses the request, if anything does; never for a request that is answered.
   */
  routed(exchange: HttpExchange, done: (error?: Error) => void): void {
    const refuse = (thrown: unknown): void => done(toError(thrown));
    this.#run(this.#inner, 0, { exchange, goOn: done, refuse, contextAt: 0 });
  }

  #run(steps: readonly Step[], start: number, passage: Passage): void {
    const { exchange, goOn, refuse, contextAt } = passage;
    if (start >= contextAt && !isInside(exchange)) {
      runInContext(exchange, () => this.#run(steps, start, passage));
      return;
    }
    for (let at = start; at < steps.length; at++) {
      if (at === contextAt && at > start) {
        this.#run(steps, at, passage);
        return;
      }
      const step = steps[at];
      if (typeof step === "object") {
        this.#around(step, steps, at, passage);
        return;
      }
      let result: ReturnType<Stage>;
      try {
        result = step?.(exchange);
      } catch (thrown) {
        refuse(thrown);
        return;
      }
      if (result === true) return;
      if (result === undefined) continue;
      this.#wait(result, steps, at, passage);
      return;
    }
    if (contextAt >= steps.length && start < contextAt) runInContext(exchange, goOn);
    else goOn();
  }

  #wait(answer: Promise<true | undefined>, steps: readonly Step[], at: number, passage: Passage): void {
    const { exchange, refuse } = passage;
    answer
      .then(
        (isAnswered) => {
          if (isAnswered !== true && !isOut(exchange)) this.#run(steps, at + 1, passage);
        },
        (thrown: unknown) => {
          if (isOut(exchange)) this.#host.failedAround(thrown, exchange);
          else refuse(thrown);
        },
      )
      .catch((thrown: unknown) => this.#host.refuse(thrown, exchange));
  }

  #around(middleware: Middleware, steps: readonly Step[], at: number, passage: Passage): void {
    const { exchange, refuse } = passage;
    const isOuter = steps === this.#outer;
    if (isOuter) exchange.heldAt = at;
    runMiddleware(middleware, exchange, {
      goOn: () => {
        if (isOuter) exchange.heldAt = Infinity;
        try {
          this.#run(steps, at + 1, passage);
        } catch (thrown) {
          this.#host.refuse(thrown, exchange);
        }
      },
      refuse: (thrown) => {
        if (isOut(exchange)) this.#host.failedAround(thrown, exchange);
        else refuse(thrown);
      },
      report: (thrown) => this.#host.failedAround(thrown, exchange),
    });
  }
}

const everything: Reached = { metrics: true, accessLog: true };

interface Passage {
  readonly exchange: HttpExchange;
  readonly goOn: () => void;
  readonly refuse: (thrown: unknown) => void;
  /** Steps from here on run in the context of the request. */
  readonly contextAt: number;
}

/** True in the context of the request, or in one derived from it. */
function isInside(exchange: HttpExchange): boolean {
  const context = currentContext();
  return context === exchange || context?.root === exchange;
}

/** Answered, or given up: nothing further in has a caller. */
function isOut(exchange: HttpExchange): boolean {
  return exchange.isOver || exchange.stopped !== undefined;
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(messageOf(thrown), { cause: thrown });
}
