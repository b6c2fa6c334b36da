import type { Clock } from "../clock.ts";
import type { ConfigStore } from "../config/store.ts";
import { AppError, messageOf } from "../errors/app-error.ts";
import { LifecycleError } from "./errors.ts";
import type { EventLog } from "./events.ts";
import { chainOf } from "./chain.ts";
import type { Graph, Node, NodeNeed } from "./graph.ts";
import { cancelGraceMs, isCancelled, limited, refuseWhenAborted } from "./limited.ts";
import { liveSettings } from "./live-settings.ts";
import type { HookContext, HookName, StopContext } from "./provider.ts";
import { type Phase, refuseWhenOver, startPhase } from "./phase.ts";
import { Scopes } from "./scopes.ts";
import type { Limits } from "./settings.ts";
import { slowestOf } from "./slowest.ts";
import { Slots } from "./slots.ts";
import { takeDown } from "./take-down.ts";
import type { Token } from "./token.ts";

export interface LifecycleOptions {
  readonly graph: Graph;
  readonly settings: Pick<ConfigStore, "get" | "subscribe">;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly events: EventLog;
}

const maxParallelHooks = 16;

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
  /** Logger, error bus and what else is ground are there to tell of what fails. */
  isGroundUp = false;

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
      this.isGroundUp = true;
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
      const isOrderly = stopErrors.length === 0 && isCancelled(error) && cancel.aborted;
      const status = isOrderly ? "cancelled" : "failed_precondition";
      const failed: readonly unknown[] = error instanceof SeveralFailed ? error.errors : [error];
      throw new LifecycleError("ERR_LIFECYCLE_START", status, `${messageOf(error)}${others}${also}`, {
        cause: failed.length + stopErrors.length === 1 ? error : new AggregateError([...failed, ...stopErrors]),
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

  /** @throws what failed first, when that is one thing; else a {@link SeveralFailed}. */
  async #bringUp(nodes: readonly Node[], phase: Phase): Promise<void> {
    const slots = new Slots(maxParallelHooks);
    const up = new Map<Node, Promise<void>>();
    const failures = new Set<unknown>(); // what stands on something that failed rejects with the same
    for (const node of nodes) {
      // dependencies stand earlier in the list, so their promises exist
      const ready = Promise.all(node.dependencies.flatMap((dependency) => up.get(dependency) ?? []));
      const own = ready
        .then(() => slots.use(() => this.#create(node, phase.signal)))
        .catch((error: unknown) => {
          if (failures.size === 0 || !isCancelled(error)) failures.add(error);
          phase.abort(error);
          throw error;
        });
      up.set(node, own);
    }
    await Promise.allSettled(up.values());
    throwAll(failures);
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
    const failures = new Set<unknown>();
    const joins = this.#withHook("join").map(async (node) => {
      this.#joined.add(node);
      await this.#runHook(node, "join", this.#values.get(node), phase.signal).catch((error: unknown) => {
        if (failures.size === 0 || !isCancelled(error)) failures.add(error);
        phase.abort(error); // the others need not go on
      });
    });
    await Promise.all(joins);
    throwAll(failures);
  }

  #takeDown(): Promise<readonly unknown[]> {
    return takeDown({
      created: this.#graph.nodes.filter((node) => this.#values.has(node)),
      joined: this.#joined,
      limits: this.#limits,
      clock: this.#clock,
      events: this.#events,
      scopes: this.scopes,
      runHook: (node, hook, signal) => this.#runHook(node, hook, this.#values.get(node), signal),
    });
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

/** Things beside each other that failed, each for a reason of its own. */
class SeveralFailed extends AggregateError {
  constructor(errors: readonly unknown[]) {
    super(errors, errors.map(messageOf).join("; also "));
  }
}

function throwAll(failures: ReadonlySet<unknown>): void {
  if (failures.size > 1) throw new SeveralFailed([...failures]);
  for (const failure of failures) throw failure;
}

/** Of a start that took too long it is told what took how long. */
function isLate(error: unknown): boolean {
  return AppError.is(error) && error.status === "deadline_exceeded";
}
