import { didYouMean } from "../config/nearest.ts";
import type { SettingsToken } from "../config/settings.ts";
import { LifecycleError } from "./errors.ts";
import type { AnyNeed, AnyToken, ErasedDefinition, Module, Provider } from "./provider.ts";

/** One provider in its place: who made it known, and what must be up before it. */
export interface Node {
  readonly definition: ErasedDefinition;
  readonly module: string;
  /** Needs before users: every dependency stands earlier in {@link Graph.nodes}. */
  readonly dependencies: readonly Node[];
  readonly ground: boolean;
}

export interface Graph {
  /** What will be built, needs before users, ground first. */
  readonly nodes: readonly Node[];
  readonly settings: readonly SettingsToken[];
  /** Nodes of a token, in the order of the modules. */
  readonly byToken: ReadonlyMap<AnyToken, readonly Node[]>;
}

interface Draft {
  readonly definition: ErasedDefinition;
  readonly module: string;
}

/**
 * Checks the whole graph before any factory runs, and puts what is needed in order.
 *
 * @param exposed - Tokens to build although nothing needs them.
 * @param overrides - Providers that take the place of those of the same token, whose factories are then never called.
 * @throws {@link LifecycleError} `ERR_GRAPH_INVALID` with every fault: missing providers, duplicates, cycles with their path.
 */
export function planGraph(
  modules: readonly Module[],
  exposed: readonly AnyToken[],
  overrides: readonly Provider[] = [],
): Graph {
  const faults: string[] = [];
  const drafts = override(collect(modules), overrides, faults);
  const byToken = groupByToken(drafts, faults);
  const settings = [...new Set(drafts.flatMap(({ definition }) => Object.values(definition.needs).filter(isSettings)))];
  const nodes = new Map<Draft, Node>();
  const path: Draft[] = [];
  const reportedCycles = new Set<string>();

  const dependenciesOf = ({ definition }: Draft): Draft[] =>
    Object.values(definition.needs)
      .filter((need) => !isSettings(need))
      .flatMap((need) => byToken.get(need) ?? []);

  function visit(draft: Draft): Node | undefined {
    const known = nodes.get(draft);
    if (known) return known;
    const start = path.indexOf(draft);
    if (start >= 0) {
      const loop = path.slice(start);
      const identity = loop.map(describe).toSorted().join();
      if (!reportedCycles.has(identity)) faults.push(`cycle: ${[...loop, draft].map(describe).join("\n      needs ")}`);
      reportedCycles.add(identity);
      return undefined;
    }
    path.push(draft);
    reportMissing(draft, byToken, faults);
    const dependencies = dependenciesOf(draft).map(visit);
    path.pop();
    const node: Node = {
      ...draft,
      dependencies: dependencies.filter((node) => node !== undefined),
      ground: grounded.has(draft),
    };
    nodes.set(draft, node);
    return node;
  }

  const grounded = closure(
    drafts.filter(({ definition }) => definition.ground),
    dependenciesOf,
  );
  const roots = drafts.filter(({ definition }) => definition.hooks.start ?? definition.hooks.join ?? definition.ground);
  const asked = exposed.flatMap((token) => {
    const found = byToken.get(token);
    if (!found && token.kind === "one") faults.push(missing(token, "the app's `expose` list", byToken));
    return found ?? [];
  });
  for (const draft of [...grounded, ...roots, ...asked]) visit(draft);
  if (faults.length > 0) {
    throw new LifecycleError(
      "ERR_GRAPH_INVALID",
      "failed_precondition",
      `${faults.length} fault${faults.length === 1 ? "" : "s"} in the graph of providers:\n${faults.map((fault) => `  - ${fault}`).join("\n")}`,
    );
  }
  const built = new Map(
    [...byToken].map(([token, found]) => [token, found.flatMap((draft) => nodes.get(draft) ?? [])] as const),
  );
  return { nodes: [...nodes.values()], settings, byToken: built };
}

function collect(modules: readonly Module[]): Draft[] {
  const seen = new Set<Module | Provider>();
  const drafts: Draft[] = [];
  const add = (part: Module | Provider, module: string): void => {
    if (seen.has(part)) return; // two modules may bring the same third one
    seen.add(part);
    if (part.kind === "provider") drafts.push({ definition: part.definition, module });
    else for (const inner of part.parts) add(inner, part.name);
  };
  for (const module of modules) add(module, module.name);
  return drafts;
}

function override(drafts: readonly Draft[], overrides: readonly Provider[], faults: string[]): Draft[] {
  const replaced = new Set<AnyToken>();
  for (const { definition } of overrides) {
    const { provides } = definition;
    if (replaced.has(provides)) faults.push(`"${provides.name}" is overridden twice; keep one`);
    if (!drafts.some((draft) => draft.definition.provides === provides)) {
      const names = drafts.map((draft) => draft.definition.provides.name);
      faults.push(
        `the override of "${provides.name}" replaces nothing${didYouMean(provides.name, names)}; leave it out or add the module it belongs to`,
      );
    }
    replaced.add(provides);
  }
  const kept = drafts.filter(({ definition }) => !replaced.has(definition.provides));
  return [...kept, ...overrides.map(({ definition }) => ({ definition, module: "overrides" }))];
}

function groupByToken(drafts: readonly Draft[], faults: string[]): Map<AnyToken, Draft[]> {
  const byToken = new Map<AnyToken, Draft[]>();
  const byName = new Map<string, AnyToken>();
  for (const draft of drafts) {
    const { provides } = draft.definition;
    const others = byToken.get(provides);
    if (others && provides.kind === "one")
      faults.push(`"${provides.name}" is provided twice: ${[...others, draft].map(describe).join(" and ")}; keep one`);
    const twin = byName.get(provides.name);
    if (twin && twin !== provides)
      faults.push(
        `two different tokens are named "${provides.name}"; one is provided by ${describe(draft)}; rename one`,
      );
    byName.set(provides.name, provides);
    if (others) others.push(draft);
    else byToken.set(provides, [draft]);
  }
  return byToken;
}

function reportMissing(draft: Draft, byToken: ReadonlyMap<AnyToken, readonly Draft[]>, faults: string[]): void {
  for (const need of Object.values(draft.definition.needs)) {
    if (need.kind === "one" && !byToken.has(need)) faults.push(missing(need, describe(draft), byToken));
  }
}

function missing(token: AnyToken, who: string, byToken: ReadonlyMap<AnyToken, readonly Draft[]>): string {
  const names = [...byToken.keys()].map(({ name }) => name);
  return `nothing provides "${token.name}", needed by ${who}${didYouMean(token.name, names)}; add the module that provides it`;
}

function closure(start: readonly Draft[], next: (draft: Draft) => readonly Draft[]): Set<Draft> {
  const reached = new Set<Draft>();
  const queue = [...start];
  for (let draft = queue.pop(); draft; draft = queue.pop()) {
    if (reached.has(draft)) continue;
    reached.add(draft);
    queue.push(...next(draft));
  }
  return reached;
}

function isSettings(need: AnyNeed): need is SettingsToken {
  return need.kind === "settings";
}

/** `"notes" (module notes, src/notes.ts:12)` */
export function describe({
  definition,
  module,
}: {
  readonly definition: ErasedDefinition;
  readonly module: string;
}): string {
  return `"${definition.provides.name}" (module ${module}, ${placeOf(definition)})`;
}

/** File and line of the `provider` call. */
function placeOf({ origin }: ErasedDefinition): string {
  const line = origin.stack?.split("\n").find((frame) => /:\d+:\d+\)?$/.test(frame)) ?? "";
  const match = /(?:\(|at )(?:async )?(?:file:\/\/)?([^()]*?):(\d+):\d+\)?$/.exec(line.trim());
  return match ? `${match[1]}:${match[2]}` : "unknown place";
}
