import { type Clock, sleep } from "../clock.ts";
import type { EventLog } from "./events.ts";
import { addTo, type Node } from "./graph.ts";
import { cancelGraceMs } from "./limited.ts";
import { startPhase } from "./phase.ts";
import type { HookName } from "./provider.ts";
import type { Scopes } from "./scopes.ts";
import type { Limits } from "./settings.ts";

export interface TakeDownOptions {
  /** What there is to stop, needs before users. */
  readonly created: readonly Node[];
  readonly joined: ReadonlySet<Node>;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly events: EventLog;
  readonly scopes: Scopes;
  /** Does nothing where there is no such hook. */
  readonly runHook: (node: Node, hook: HookName, signal: AbortSignal) => Promise<void>;
}

/** Of the stop's limit: what draining, and the end of requests, leave is for stopping, */
const maxDrainShare = 0.6;
const maxCloseShare = 0.2;
/** and what all of it leaves is for the ground: what tells of a stop that overran must not go down with it. */
const groundShare = 0.1;

/**
 * Leave, announce, drain, then stop in reverse, going on after failures. Has a budget of its own, whatever the start has used.
 * @returns What failed.
 */
export async function takeDown(options: TakeDownOptions): Promise<readonly unknown[]> {
  const { created, limits, clock, events, scopes } = options;
  const errors: unknown[] = [];
  const whole = startPhase(clock, limits.stopMs, "stop");
  const hasGround = created.some(({ ground, definition }) => ground && definition.hooks.stop);
  const phase = hasGround
    ? startPhase(clock, limits.stopMs * (1 - groundShare), "stop of all but the ground", whole.signal)
    : whole;
  try {
    if (events.state === "ready") {
      events.emit({ type: "state", state: "draining" });
      await drain(options, phase.signal, errors);
    }
    events.emit({ type: "state", state: "stopping" });
    const closing = startPhase(clock, limits.stopMs * maxCloseShare, "closing request scopes", phase.signal);
    errors.push(...(await scopes.closeAll(closing.signal, cancelGraceMs).finally(() => closing.end())));

    const down = new Map<Node, Promise<void>>();
    const dependents = invert(created);
    const stop = async (node: Node): Promise<void> => {
      await Promise.all((dependents.get(node) ?? []).flatMap((dependent) => down.get(dependent) ?? []));
      await collect(options, [node], "stop", node.ground ? whole.signal : phase.signal, errors);
    };
    for (const isGround of [false, true]) {
      for (const node of created.toReversed()) if (node.ground === isGround) down.set(node, stop(node));
      await Promise.all(down.values());
    }
  } finally {
    phase.end();
    whole.end();
  }
  return errors;
}

async function drain(options: TakeDownOptions, stop: AbortSignal, errors: unknown[]): Promise<void> {
  const { created, joined, limits, clock } = options;
  const limitMs = Math.min(limits.drainMs, limits.stopMs * maxDrainShare);
  const phase = startPhase(clock, limitMs, "drain", stop);
  const before = startPhase(clock, limitMs / 2, "leave and announce", phase.signal);
  try {
    const leaving = created.filter((node) => joined.has(node) || !node.definition.hooks.join);
    await collect(options, leaving, "leave", before.signal, errors);
    const draining = created.filter(({ definition }) => definition.hooks.drain);
    if (draining.length === 0) return;
    // time for whoever sends requests to hear that there should be none; cut short by its limit
    if (limits.announceDelayMs > 0) {
      await sleep(clock, limits.announceDelayMs, { signal: before.signal }).catch(() => undefined);
    }
    await collect(options, draining, "drain", phase.signal, errors);
  } finally {
    before.end();
    phase.end();
  }
}

async function collect(
  { runHook }: TakeDownOptions,
  nodes: readonly Node[],
  hook: HookName,
  signal: AbortSignal,
  errors: unknown[],
): Promise<void> {
  const fail = (error: unknown): void => void errors.push(error);
  await Promise.all(nodes.map((node) => runHook(node, hook, signal).catch(fail)));
}

function invert(nodes: readonly Node[]): Map<Node, Node[]> {
  const dependents = new Map<Node, Node[]>();
  for (const node of nodes) for (const dependency of node.dependencies) addTo(dependents, dependency, node);
  return dependents;
}
