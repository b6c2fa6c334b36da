import type { Clock } from "../clock.ts";
import type { SettingsToken } from "../config/settings.ts";
import type { ConfigStore } from "../config/store.ts";
import { LifecycleError } from "./errors.ts";
import { EventLog } from "./events.ts";
import { analyzeGraph, type Graph, type Node, requireWhole } from "./graph.ts";
import { Lifecycle } from "./lifecycle.ts";
import { defineModule, type Module } from "./module.ts";
import { type Provider, provider } from "./provider.ts";
import { lifecycleSettings } from "./settings.ts";
import { type AppTask, appTasks, type TaskRequest, type TaskResult } from "./tasks.ts";
import { token } from "./token.ts";

export interface TasksOptions {
  readonly modules: readonly Module[];
  readonly overrides: readonly Provider[];
  readonly clock: Clock;
  /** Reads these sections, and looks for nothing in the others. */
  readonly readConfig: (needed: ReadonlySet<SettingsToken>, signal: AbortSignal) => Promise<ConfigStore>;
}

const collected = token("app.tasks.collected").of<readonly AppTask[]>();

/**
 * Runs the tasks of a name, one after the other, of an app that does not run. What they need is started before and stopped after, under the
 * limits of the section `lifecycle`, which do not hold for the tasks themselves.
 *
 * @returns What each says, in the order of the modules; none where the app has no such task.
 * @throws {@link LifecycleError} `ERR_GRAPH_INVALID`, `ERR_LIFECYCLE_START`, `ERR_LIFECYCLE_STOP`, `ERR_APP_TASK` where the subject is not
 *   there or not clear; {@link ConfigError}; what a task throws.
 */
export async function runTasks(request: TaskRequest, options: TasksOptions): Promise<readonly TaskResult[]> {
  const { modules, overrides, clock, readConfig } = options;
  const { signal = new AbortController().signal, args = {} } = request;
  let tasks: readonly AppTask[] = [];
  const collect = provider({
    provides: collected,
    needs: { found: appTasks },
    create: ({ found }) => (tasks = found),
  });
  const collector = defineModule("app.tasks", [collect]);
  const whole = requireWhole(analyzeGraph([...modules, collector], [collected], overrides));
  const graph = partOf(whole, whole.byToken.get(collected) ?? []);
  const settings = await readConfig(new Set([lifecycleSettings, ...settingsOf(graph)]), signal);
  const limits = { ...settings.get(lifecycleSettings), announceDelayMs: 0 };
  const lifecycle = new Lifecycle({ graph, settings, limits, clock, events: new EventLog() });
  await lifecycle.start(signal);
  try {
    const results: TaskResult[] = [];
    for (const task of asked(tasks, request)) {
      signal.throwIfAborted();
      results.push(await task.run(args, { signal }));
    }
    return results;
  } finally {
    await lifecycle.stop();
    settings.close();
  }
}

function asked(tasks: readonly AppTask[], { name, subject, single = false }: TaskRequest): readonly AppTask[] {
  const named = tasks.filter((task) => task.name === name);
  const subjects = named.map((task) => task.subject).join(", ");
  const chosen = subject === undefined ? named : named.filter((task) => task.subject === subject);
  if (named.length > 0 && chosen.length === 0) refuse(`there is no "${subject}" to ${name}; there is ${subjects}`);
  if (single && chosen.length > 1) refuse(`there are several to ${name}, ${subjects}; name the one that is meant`);
  return chosen;
}

function refuse(message: string): never {
  throw new LifecycleError("ERR_APP_TASK", "invalid_argument", message);
}

/** These nodes and what they stand on. */
function partOf(graph: Graph, roots: readonly Node[]): Graph {
  const wanted = new Set(roots);
  // what a node stands on is earlier in the list
  for (const node of graph.all.toReversed()) {
    if (wanted.has(node)) for (const each of node.dependencies) wanted.add(each);
  }
  const isWanted = (node: Node): boolean => wanted.has(node);
  const byToken = [...graph.byToken].map(([key, nodes]) => [key, nodes.filter(isWanted)] as const);
  return { ...graph, nodes: graph.nodes.filter(isWanted), requestNodes: [], byToken: new Map(byToken) };
}

function settingsOf({ nodes }: Graph): readonly SettingsToken[] {
  return nodes
    .flatMap(({ needs }) => needs)
    .flatMap(({ need }) => (need.kind === "settings" ? [need] : need.kind === "live" ? [need.settings] : []));
}
