import { type Clock, sleep } from "../clock.ts";
import type { ConfigStore } from "../config/store.ts";
import { AppError, messageOf } from "../errors/app-error.ts";
import { LifecycleError } from "./errors.ts";
import type { EventLog } from "./events.ts";
import { chainOf } from "./chain.ts";
import type { Graph, Node, NodeNeed } from "./graph.ts";
import { limited, refuseWhenAborted } from "./limited.ts";
import { liveSettings } from "./live-settings.ts";
import type { HookContext, HookName, StopContext } from "./provider.ts";
import { type Phase, refuseWhenOver, startPhase } from "./phase.ts";
import { Scopes } from "./scopes.ts";
import { slowestOf } from "./slowest.ts";
import { Slots } from "./slots.ts";
import type { Token } from "./token.ts";

export interface Limits {
  readonly hookMs: number;
  readonly startMs: number;
  readonly stopMs: number;
  readonly drainMs: number;
  readonly announceDelayMs: number;
}

export interface LifecycleOptions {
  readonly graph: Graph;
  readonly settings: Pick<ConfigStore, "get" | "subscribe">;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly events: EventLog;
}

const maxParallelHooks = 16;
const cancelGraceMs = 1_000;
/** Of the stop's limit: what draining, and the end of requests, leave is for stopping. */
const maxDrainShare = 0.6;
const maxCloseShare = 0.2;

/** Walks the graph: up needs first, independent branches in parallel; down strictly in reverse, going on after failures. */
export class Lifecycle {
  readonly #graph: Graph;
  readonly #settings: LifecycleOptions["settings"];
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #events: EventLog;
  readonly #values = new Map<Node, unknown>();
  /** Created and started. */
  readonly #up = new Set<Node>();
  readonly #joined = new Set<Node>();
  readonly scopes: Scopes;

  constructor({ graph, settings, limits, clock, events }: LifecycleOptions) {
    this.#graph = graph;
    this.#settings = settings;
    this.#limits = limits;
    this.#clock = clock;
    this.#events = events;
    this.scopes = new Scopes({
      graph,
      clock,
      hookMs: limits.hookMs,
      resolve: (need) => this.#resolve(need),
      isUp: (node) => this.#up.has(node),
    });
  }

  /** The value of a token, boxed, or undefined when it was not built. */
  valueOf(token: Token): { readonly built: unknown } | undefined {
    const node = this.#graph.byToken.get(token)?.[0];
    return node && this.#values.has(node) ? { built: this.#values.get(node) } : undefined;
  }

  async start(cancel: AbortSignal): Promise<void> {
    const phase = startPhase(this.#clock, this.#limits.startMs, "start", cancel);
    try {
      await this.#bringUp(
        this.#graph.nodes.filter(({ ground }) => ground),
        phase,
      );
      await this.#bringUp(
        this.#graph.nodes.filter(({ ground }) => !ground),
        phase,
      );
      refuseWhenOver(phase);
      this.#events.emit({ type: "state", state: "ready" });
      await this.#joinAll(phase);
      refuseWhenOver(phase);
    } catch (error) {
      const others = isLate(error) || isLate(phase.signal.reason) ? slowestOf(this.#events.history) : "";
      phase.abort(error); // whatever still runs beside the failure
      const stopErrors = await this.#takeDown();
      const also =
        stopErrors.length === 0 ? "" : `; and while stopping what had started: ${stopErrors.map(messageOf).join("; ")}`;
      // cancelled, and all in order: for whoever cancelled it that is no failure
      const isOrderly = stopErrors.length === 0 && AppError.is(error) && error.status === "cancelled" && cancel.aborted;
      const status = isOrderly ? "cancelled" : "failed_precondition";
      throw new LifecycleError("ERR_LIFECYCLE_START", status, `${messageOf(error)}${others}${also}`, {
        cause: stopErrors.length === 0 ? error : new AggregateError([error, ...stopErrors]),
      });
    } finally {
      phase.end();
    }
  }

  async stop(): Promise<void> {
    const errors = await this.#takeDown();
    this.#events.emit({ type: "state", state: "stopped" });
    if (errors.length === 0) return;
    throw new LifecycleError(
      "ERR_LIFECYCLE_STOP",
      "failed_precondition",
      `${errors.length} hook${errors.length === 1 ? "" : "s"} failed while stopping: ${errors.map(messageOf).join("; ")}`,
      { cause: new AggregateError(errors) },
    );
  }

  async #bringUp(nodes: readonly Node[], phase: Phase): Promise<void> {
    const slots = new Slots(maxParallelHooks);
    const up = new Map<Node, Promise<void>>();
    let firstFailure: { readonly error: unknown } | undefined;
    for (const node of nodes) {
      // dependencies stand earlier in the list, so their promises exist
      const ready = Promise.all(node.dependencies.flatMap((dependency) => up.get(dependency) ?? []));
      const own = ready
        .then(() => slots.use(() => this.#create(node, phase.signal)))
        .catch((error: unknown) => {
          firstFailure ??= { error };
          phase.abort(error);
          throw error;
        });
      up.set(node, own);
    }
    await Promise.allSettled(up.values());
    if (firstFailure) throw firstFailure.error;
  }

  async #create(node: Node, signal: AbortSignal): Promise<void> {
    const { definition } = node;
    refuseWhenAborted(signal, () => chainOf(node, "create", this.#graph));
    const needs = Object.fromEntries(node.needs.map((need) => [need.name, this.#resolve(need)]));
    const limitMs = definition.limits.createMs ?? this.#limits.hookMs;
    const onLate = (value: unknown): void => {
      // it came after it was given up: nobody holds it, so it is released here, and a failure is told like any other
      void this.#runHook(node, "stop", value, new AbortController().signal).catch(() => undefined);
    };
    const value = await this.#timed(node, "create", () =>
      limited((context: HookContext) => definition.create(needs, context), {
        clock: this.#clock,
        what: () => chainOf(node, "create", this.#graph),
        limitMs,
        signal,
        cancelGraceMs,
        onLate,
      }),
    );
    this.#values.set(node, value);
    refuseWhenAborted(signal, () => chainOf(node, "start", this.#graph));
    await this.#runHook(node, "start", value, signal);
    this.#up.add(node);
  }

  #resolve({ need, nodes }: NodeNeed): unknown {
    const [node] = nodes;
    switch (need.kind) {
      case "settings":
        return this.#settings.get(need);
      case "live":
        return liveSettings(this.#settings, need.settings);
      case "list":
        return Object.freeze(nodes.map((each) => this.#values.get(each)));
      case "current":
        return this.scopes.getter(node);
      default:
        return node && this.#values.get(node);
    }
  }

  async #joinAll(phase: Phase): Promise<void> {
    let firstFailure: { readonly error: unknown } | undefined;
    const joins = this.#withHook("join").map(async (node) => {
      this.#joined.add(node);
      await this.#runHook(node, "join", this.#values.get(node), phase.signal).catch((error: unknown) => {
        firstFailure ??= { error };
        phase.abort(error); // the others need not go on
      });
    });
    await Promise.all(joins);
    if (firstFailure) throw firstFailure.error;
  }

  /** Leave, announce, drain, then stop in reverse; returns what failed. Has a budget of its own, whatever the start has used. */
  async #takeDown(): Promise<unknown[]> {
    const errors: unknown[] = [];
    const phase = startPhase(this.#clock, this.#limits.stopMs, "stop");
    const collect = async (nodes: readonly Node[], hook: HookName, signal: AbortSignal): Promise<void> => {
      const results = await Promise.allSettled(
        nodes.map((node) => this.#runHook(node, hook, this.#values.get(node), signal)),
      );
      errors.push(
        ...results
          .filter((result) => result.status === "rejected")
          .map(({ reason }: PromiseRejectedResult) => reason as unknown),
      );
    };
    try {
      if (this.#events.state === "ready") {
        this.#events.emit({ type: "state", state: "draining" });
        await this.#drain(phase, collect);
      }
      this.#events.emit({ type: "state", state: "stopping" });
      errors.push(...(await this.#closeScopes(phase)));
      const down = new Map<Node, Promise<void>>();
      const created = this.#graph.nodes.filter((node) => this.#values.has(node)).toReversed();
      const dependents = invert(created);
      const stop = async (node: Node): Promise<void> => {
        await Promise.all((dependents.get(node) ?? []).flatMap((dependent) => down.get(dependent) ?? []));
        await collect([node], "stop", phase.signal);
      };
      for (const isGround of [false, true]) {
        for (const node of created.filter(({ ground }) => ground === isGround)) down.set(node, stop(node));
        await Promise.all(down.values());
      }
    } finally {
      phase.end();
    }
    return errors;
  }

  async #closeScopes(stop: Phase): Promise<unknown[]> {
    const phase = startPhase(this.#clock, this.#limits.stopMs * maxCloseShare, "closing request scopes", stop.signal);
    try {
      return await this.scopes.closeAll(phase.signal, cancelGraceMs);
    } finally {
      phase.end();
    }
  }

  async #drain(
    stop: Phase,
    collect: (nodes: readonly Node[], hook: HookName, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const limitMs = Math.min(this.#limits.drainMs, this.#limits.stopMs * maxDrainShare);
    const phase = startPhase(this.#clock, limitMs, "drain", stop.signal);
    const before = startPhase(this.#clock, limitMs / 2, "leave and announce", phase.signal);
    try {
      await collect(
        this.#withHook("leave").filter((node) => this.#joined.has(node) || !node.definition.hooks.join),
        "leave",
        before.signal,
      );
      const draining = this.#withHook("drain");
      if (draining.length === 0) return;
      await this.#announce(before.signal);
      await collect(draining, "drain", phase.signal);
    } finally {
      before.end();
      phase.end();
    }
  }

  /** Time for whoever sends requests to hear that there should be none; cut short by its limit. */
  async #announce(signal: AbortSignal): Promise<void> {
    const { announceDelayMs } = this.#limits;
    if (announceDelayMs > 0) await sleep(this.#clock, announceDelayMs, { signal }).catch(() => undefined);
  }

  #withHook(hook: HookName): Node[] {
    return this.#graph.nodes.filter((node) => node.definition.hooks[hook] && this.#values.has(node));
  }

  async #runHook(node: Node, name: HookName, value: unknown, signal: AbortSignal): Promise<void> {
    const hook = node.definition.hooks[name];
    if (!hook) return;
    const limitMs =
      node.definition.limits[`${name}Ms`] ?? (name === "drain" ? this.#limits.drainMs : this.#limits.hookMs);
    await this.#timed(node, name, () =>
      limited((context: StopContext) => hook(value, context), {
        clock: this.#clock,
        what: () => chainOf(node, name, this.#graph),
        limitMs,
        hasStarted: this.#up.has(node),
        signal,
        cancelGraceMs,
      }),
    );
  }

  async #timed<T>(node: Node, hook: HookName | "create", work: () => Promise<T>): Promise<T> {
    const startedAtMs = this.#clock.monotonicMs();
    const { id, definition, module } = node;
    const facts = { type: "hook", hook, provider: definition.provides.name, id, module } as const;
    this.#events.emit({ ...facts, step: "begun" });
    try {
      const result = await work();
      this.#events.emit({ ...facts, step: "done", tookMs: this.#clock.monotonicMs() - startedAtMs });
      return result;
    } catch (error) {
      this.#events.emit({ ...facts, step: "failed", tookMs: this.#clock.monotonicMs() - startedAtMs, error });
      throw error;
    }
  }
}

/** Of a start that took too long it is told what took how long. */
function isLate(error: unknown): boolean {
  return AppError.is(error) && error.status === "deadline_exceeded";
}

function invert(nodes: readonly Node[]): Map<Node, Node[]> {
  const dependents = new Map<Node, Node[]>();
  for (const node of nodes) {
    for (const dependency of node.dependencies) {
      const list = dependents.get(dependency);
      if (list) list.push(node);
      else dependents.set(dependency, [node]);
    }
  }
  return dependents;
}
