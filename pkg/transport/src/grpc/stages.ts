import { runInContext, runOutsideContext } from "@plinth/kernel";
import type { Authenticator } from "../auth.ts";
import { AuthGate } from "../auth-gate.ts";
import { ClientAddresses } from "../client-address.ts";
import type { Exchange } from "../exchange.ts";
import { instanceHeader, requireMeant } from "../instance.ts";
import { type Layer, type Middleware, orderOf } from "../middleware.ts";
import { runMiddleware } from "../run-middleware.ts";
import type { CallExchange } from "./call-exchange.ts";
import type { GrpcSettings } from "./settings.ts";
import type { Wire } from "./wire.ts";

/** A layer's part in one call: a throw refuses. Without a promise where there is nothing to wait for. */
export type Stage = (exchange: CallExchange, wire: Wire) => undefined | Promise<undefined>;

export interface StagesOptions {
  readonly settings: GrpcSettings;
  readonly middlewares?: readonly Middleware[] | undefined;
  readonly instanceId?: string | undefined;
  readonly authenticator?: Authenticator | undefined;
  /** Refuses a call while there is too much to do. */
  readonly overload: Stage;
}

/** What surrounds the stages. None of it throws. */
export interface StagesHost {
  /** Calls the handler. */
  handle(wire: Wire, exchange: CallExchange): void;
  /** A stage or middleware refuses the call. */
  refuse(thrown: unknown, wire: Wire): void;
  /** What a middleware throws, or does wrong, when it is too late for its caller. */
  failedAround(thrown: unknown, exchange: Exchange): void;
}

type Step = Stage | Middleware;

/** The layers that act on calls one by one, and the user's middlewares, each at its place in the order of all wires. */
export class Stages {
  /** No middleware stands outside of `overload`: a call can be refused before there is an exchange. */
  readonly shedsFirst: boolean;
  readonly gate: AuthGate;
  readonly #host: StagesHost;
  readonly #steps: readonly Step[];
  /** How many steps stand outside of these layers. */
  readonly #contextAt: number;
  readonly #metricsAt: number;
  readonly #accessLogAt: number;

  constructor({ settings, instanceId, middlewares, authenticator, overload }: StagesOptions, host: StagesHost) {
    const order = orderOf(middlewares ?? []);
    this.#host = host;
    this.gate = new AuthGate(authenticator, settings.auth);
    this.shedsFirst = order.slice(0, order.indexOf("overload")).every((place) => typeof place !== "object");
    const stages: Partial<Record<Layer, Stage | undefined>> = {
      overload: this.shedsFirst ? undefined : overload,
      "client-address": settings.trustedProxies.length === 0 ? undefined : clientAddressStage(settings),
      instance: instanceId === undefined ? undefined : instanceStage(instanceId),
      auth: this.gate.isOpen ? undefined : authStage(this.gate),
    };
    const stepsUpTo = (end: number): Step[] =>
      order.slice(0, end).flatMap((place) => (typeof place === "object" ? place : (stages[place] ?? [])));
    const before = (layer: Layer): number => stepsUpTo(order.indexOf(layer)).length;
    this.#steps = stepsUpTo(order.length);
    this.#contextAt = before("log-context");
    this.#metricsAt = before("metrics");
    this.#accessLogAt = before("access-log");
  }

  isCounted(wire: Wire): boolean {
    return wire.reached >= this.#metricsAt;
  }

  isLogged(wire: Wire): boolean {
    return wire.reached >= this.#accessLogAt;
  }

  /** Takes the call inwards as far as it comes. */
  enter(wire: Wire, exchange: CallExchange): void {
    if (this.#contextAt === 0) runInContext(exchange, () => this.#run(wire, exchange, 0));
    else runOutsideContext(() => this.#run(wire, exchange, 0));
  }

  #run(wire: Wire, exchange: CallExchange, start: number): void {
    for (let at = start; at < this.#steps.length; at++) {
      wire.reached = at;
      if (at === this.#contextAt && at > start) {
        runInContext(exchange, () => this.#run(wire, exchange, at));
        return;
      }
      const step = this.#steps[at];
      if (typeof step === "object") {
        this.#around(step, wire, exchange, at);
        return;
      }
      let result: ReturnType<Stage>;
      try {
        result = step?.(exchange, wire);
      } catch (thrown) {
        this.#host.refuse(thrown, wire);
        return;
      }
      if (result === undefined) continue;
      this.#wait(result, wire, exchange, at);
      return;
    }
    wire.reached = this.#steps.length;
    if (this.#contextAt >= this.#steps.length && start < this.#contextAt)
      runInContext(exchange, () => this.#host.handle(wire, exchange));
    else this.#host.handle(wire, exchange);
  }

  #goOn(wire: Wire, exchange: CallExchange, at: number): void {
    // what a middleware does before next may have left the context, or entered one of its own
    if (at >= this.#contextAt) runInContext(exchange, () => this.#run(wire, exchange, at));
    else this.#run(wire, exchange, at);
  }

  #wait(answer: Promise<undefined>, wire: Wire, exchange: CallExchange, at: number): void {
    answer
      .then(
        () => {
          if (!isOut(exchange)) this.#goOn(wire, exchange, at + 1);
        },
        (thrown: unknown) => this.#refuse(thrown, wire, exchange),
      )
      .catch((thrown: unknown) => this.#host.refuse(thrown, wire));
  }

  #around(middleware: Middleware, wire: Wire, exchange: CallExchange, at: number): void {
    runMiddleware(middleware, exchange, {
      goOn: () => {
        try {
          this.#goOn(wire, exchange, at + 1);
        } catch (thrown) {
          this.#host.refuse(thrown, wire);
        }
      },
      refuse: (thrown) => this.#refuse(thrown, wire, exchange),
      report: (thrown) => this.#host.failedAround(thrown, exchange),
    });
  }

  #refuse(thrown: unknown, wire: Wire, exchange: CallExchange): void {
    if (isOut(exchange)) this.#host.failedAround(thrown, exchange);
    else this.#host.refuse(thrown, wire);
  }
}

/** Answered, or given up: nothing further in has a caller. */
function isOut(exchange: CallExchange): boolean {
  return exchange.isOver || exchange.stopped !== undefined;
}

function clientAddressStage(settings: GrpcSettings): Stage {
  const addresses = new ClientAddresses(settings);
  return (exchange) => {
    exchange.clientAddress = addresses.originOf(exchange.clientAddress, (name) => exchange.header(name)).address;
    return undefined;
  };
}

function instanceStage(instanceId: string): Stage {
  return (exchange) => {
    requireMeant(exchange.header(instanceHeader), instanceId);
    return undefined;
  };
}

function authStage(gate: AuthGate): Stage {
  return (exchange, { served }) => (served.need.mode === "none" ? undefined : gate.admit(exchange, served.need));
}
