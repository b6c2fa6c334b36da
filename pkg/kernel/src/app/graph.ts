import { fileURLToPath } from "node:url";
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
 * Checks the whole graph before any factory runs, also what is not needed, and puts what is needed in order.
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
  const dependenciesOf = ({ definition }: Draft): Draft[] =>
    Object.values(definition.needs)
      .filter((need) => !isSettings(need))
      .flatMap((need) => byToken.get(need) ?? []);

  for (const draft of drafts) reportMissing(Object.values(draft.definition.needs), describe(draft), byToken, faults);
  reportMissing(exposed, "the app's `expose` list", byToken, faults);
  const ordered = inOrder(drafts, dependenciesOf, faults);
  if (faults.length > 0) {
    throw new LifecycleError(
      "ERR_GRAPH_INVALID",
      "failed_precondition",
      `${faults.length} fault${faults.length === 1 ? "" : "s"} in the graph of providers:\n${faults.map((fault) => `  - ${fault}`).join("\n")}`,
    );
  }
  const ground = closure(
    drafts.filter(({ definition }) => definition.ground),
    dependenciesOf,
  );
  const asked = exposed.flatMap((token) => byToken.get(token) ?? []);
  const active = drafts.filter(({ definition }) => definition.hooks.start ?? definition.hooks.join);
  const wanted = closure([...ground, ...active, ...asked], dependenciesOf);
  const nodes = new Map<Draft, Node>();
  const nodesOf = (drafts: readonly Draft[]): Node[] => drafts.flatMap((draft) => nodes.get(draft) ?? []);
  const groundFirst = [
    ...ordered.filter((draft) => ground.has(draft)),
    ...ordered.filter((draft) => !ground.has(draft)),
  ];
  for (const draft of groundFirst.filter((draft) => wanted.has(draft))) {
    nodes.set(draft, { ...draft, dependencies: nodesOf(dependenciesOf(draft)), ground: ground.has(draft) });
  }
  return {
    nodes: [...nodes.values()],
    settings: [...new Set(drafts.flatMap(({ definition }) => Object.values(definition.needs).filter(isSettings)))],
    byToken: new Map([...byToken].map(([token, found]) => [token, nodesOf(found)])),
  };
}

/** Needs before users; each way back to something whose needs are still being ordered is a cycle. */
function inOrder(drafts: readonly Draft[], dependenciesOf: (draft: Draft) => Draft[], faults: string[]): Draft[] {
  const ordered = new Set<Draft>();
  const path: Draft[] = [];
  const visit = (draft: Draft): void => {
    if (ordered.has(draft)) return;
    const start = path.indexOf(draft);
    if (start >= 0) {
      faults.push(`cycle: ${[...path.slice(start), draft].map(describe).join("\n      needs ")}`);
      return;
    }
    path.push(draft);
    for (const dependency of new Set(dependenciesOf(draft))) visit(dependency);
    path.pop();
    ordered.add(draft);
  };
  for (const draft of drafts) visit(draft);
  return [...ordered];
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
  const replacing = overrides.map(({ definition }): Draft => ({ definition, module: "overrides" }));
  const byToken = Map.groupBy(drafts, tokenOf);
  for (const [token, twins] of Map.groupBy(replacing, tokenOf)) {
    if (twins.length > 1 && token.kind === "one") {
      faults.push(`"${token.name}" is overridden twice: ${twins.map(describe).join(" and ")}; keep one`);
    }
    if (byToken.has(token)) continue;
    const hint = twinOf(token, byToken) ?? `${nearName(token, byToken)}; leave it out or add the module it belongs to`;
    faults.push(`the override of "${token.name}" replaces nothing${hint}`);
  }
  const replaced = new Set(replacing.map(tokenOf));
  return [...drafts.filter((draft) => !replaced.has(tokenOf(draft))), ...replacing];
}

function groupByToken(drafts: readonly Draft[], faults: string[]): Map<AnyToken, Draft[]> {
  const byToken = Map.groupBy(drafts, tokenOf);
  for (const [token, found] of byToken) {
    if (found.length === 1 || token.kind === "list") continue;
    faults.push(`"${token.name}" is provided ${found.length} times: ${found.map(describe).join(" and ")}; keep one`);
  }
  for (const [name, tokens] of Map.groupBy(byToken.keys(), (token) => token.name)) {
    if (tokens.length === 1) continue;
    const providers = tokens.flatMap((token) => byToken.get(token)?.slice(0, 1) ?? []);
    faults.push(
      `${tokens.length} different tokens are named "${name}": of ${providers.map(describe).join(" and ")}; rename one`,
    );
  }
  return byToken;
}

function reportMissing(
  needs: readonly AnyNeed[],
  who: string,
  byToken: ReadonlyMap<AnyToken, readonly Draft[]>,
  faults: string[],
): void {
  for (const need of needs) {
    if (isSettings(need) || byToken.has(need)) continue;
    const twin = twinOf(need, byToken);
    // nobody has to add to a list
    if (twin === undefined && need.kind === "list") continue;
    const hint = twin ?? `${nearName(need, byToken)}; add the module that provides it`;
    faults.push(`nothing provides "${need.name}", needed by ${who}${hint}`);
  }
}

/** The usual reason why a token is unknown although its name is not: it was made a second time. */
function twinOf(token: AnyToken, byToken: ReadonlyMap<AnyToken, readonly Draft[]>): string | undefined {
  for (const [{ name }, [provider]] of byToken) {
    if (name === token.name && provider)
      return `; ${describe(provider)} provides another token of that name: import that one`;
  }
  return undefined;
}

function nearName(token: AnyToken, byToken: ReadonlyMap<AnyToken, unknown>): string {
  return didYouMean(
    token.name,
    [...byToken.keys()].map(({ name }) => name),
  );
}

function tokenOf({ definition }: Draft): AnyToken {
  return definition.provides;
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
  const stack = typeof origin.stack === "string" ? origin.stack : ""; // no text where stacks are prepared otherwise
  const line = stack.split("\n").find((frame) => /:\d+:\d+\)?$/.test(frame)) ?? "";
  const match = /(?:\(|at )(?:async )?([^()]*?):(\d+):\d+\)?$/.exec(line.trim());
  if (!match) return "unknown place";
  const [, file = "", row] = match;
  return `${file.startsWith("file:") ? fileURLToPath(file) : file}:${row}`;
}
