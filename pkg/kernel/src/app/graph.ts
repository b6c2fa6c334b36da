import type { SettingsToken } from "../config/settings.ts";
import { type Catalog, type Draft, describe, readModules, tokenOf } from "./catalog.ts";
import { LifecycleError } from "./errors.ts";
import { faultsOf, wantedToken } from "./graph-faults.ts";
import type { Module } from "./module.ts";
import type { AnyNeed } from "./needs.ts";
import type { ErasedDefinition, Provider } from "./provider.ts";
import type { AnyToken } from "./token.ts";

/** One provider in its place: who made it known, and what must be up before it. */
export interface Node {
  /** Unique in the app: the token's name, with `#2`, `#3` … where several providers have the same. */
  readonly id: string;
  readonly definition: ErasedDefinition;
  readonly module: string;
  readonly needs: readonly NodeNeed[];
  /** What lives as long as the app and must be up before: each stands earlier in {@link Graph.nodes}. */
  readonly dependencies: readonly Node[];
  readonly ground: boolean;
}

/** One need and who provides it: nobody where it is missing, optional and absent, or given by the config. */
export interface NodeNeed {
  readonly name: string;
  readonly need: AnyNeed;
  readonly nodes: readonly Node[];
}

export interface Graph {
  /** What will be built at the start, needs before users, ground first. */
  readonly nodes: readonly Node[];
  /** What each request that asks for it builds. */
  readonly requestNodes: readonly Node[];
  /** All that the modules hold, also what nothing needs; needs before users. */
  readonly all: readonly Node[];
  readonly settings: readonly SettingsToken[];
  /** Nodes that are built, of a public token, in the order of the modules. */
  readonly byToken: ReadonlyMap<AnyToken, readonly Node[]>;
}

export interface GraphAnalysis {
  /** Where there are faults: as far as it goes. */
  readonly graph: Graph;
  /** What is no token or provider, missing providers, duplicates, scope leaks, overrides of nothing, cycles with their path. */
  readonly faults: readonly string[];
}

/**
 * Checks the whole graph, also what is not needed, and puts what is needed in order; no factory runs.
 *
 * @param exposed - Tokens to build although nothing needs them.
 * @param overrides - Providers that take the place of those of the same token, whose factories are then never called.
 */
export function analyzeGraph(
  modules: readonly Module[],
  exposed: readonly AnyToken[],
  overrides: readonly Provider[] = [],
): GraphAnalysis {
  const catalog = readModules(modules, exposed, overrides);
  const links = new Links(catalog);
  const cycles: string[] = [];
  const ordered = links.inOrder((path) => cycles.push(`cycle: ${path.map(describe).join("\n      needs ")}`));
  const asked = catalog.exposed.flatMap((token) => catalog.find(token, undefined));
  const isActive = ({ definition: { hooks } }: Draft): boolean => (hooks.start ?? hooks.join) !== undefined;
  const ground = links.closure(catalog.drafts.filter(({ definition }) => definition.ground));
  const wanted = links.closure([...ground, ...catalog.drafts.filter(isActive), ...asked]);

  const groundFirst = [
    ...ordered.filter((draft) => ground.has(draft)),
    ...ordered.filter((draft) => !ground.has(draft)),
  ];
  const nodes = toNodes(groundFirst, links, ground);
  const built = groundFirst.filter((draft) => wanted.has(draft));
  const nodesOf = (drafts: readonly Draft[]): Node[] => drafts.flatMap((draft) => nodes.get(draft) ?? []);
  const isRequest = (draft: Draft): boolean => tokenOf(draft).kind === "request";
  const publicOnes = catalog.drafts.filter((draft) => wanted.has(draft) && !draft.definition.private);
  return {
    graph: {
      nodes: nodesOf(built.filter((draft) => !isRequest(draft))),
      requestNodes: nodesOf(built.filter(isRequest)),
      all: nodesOf(groundFirst),
      settings: [
        ...new Set(catalog.drafts.flatMap(({ definition }) => Object.values(definition.needs).flatMap(settingsOf))),
      ],
      byToken: new Map([...Map.groupBy(publicOnes, tokenOf)].map(([token, found]) => [token, nodesOf(found)])),
    },
    faults: [...faultsOf(catalog), ...cycles],
  };
}

/** @throws {@link LifecycleError} `ERR_GRAPH_INVALID` with every fault. */
export function requireWhole({ graph, faults }: GraphAnalysis): Graph {
  if (faults.length === 0) return graph;
  const list = faults.map((fault) => `  - ${fault}`).join("\n");
  const what = `${faults.length} fault${faults.length === 1 ? "" : "s"} in the graph of providers:\n${list}`;
  throw new LifecycleError("ERR_GRAPH_INVALID", "failed_precondition", what);
}

/** Who stands on whom. */
class Links {
  readonly #catalog: Catalog;
  /** What must be there when it is made. */
  readonly #hard = new Map<Draft, readonly Draft[]>();
  /** What it asks for at request time. */
  readonly #later = new Map<Draft, readonly Draft[]>();
  /** What the latter stands on: up first, unless that one needs this one. */
  readonly #soft = new Map<Draft, readonly Draft[]>();

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
    for (const draft of catalog.drafts) {
      const [atOnce = [], later = []] = [false, true].map((isLater) => [
        ...new Set(
          Object.values(draft.definition.needs)
            .filter((need) => (need.kind === "current") === isLater)
            .flatMap((need) => this.providersOf(need, draft)),
        ),
      ]);
      this.#hard.set(draft, atOnce);
      this.#later.set(draft, later);
    }
    const users = new Map<Draft, Draft[]>();
    for (const [draft, needed] of this.#hard) for (const each of needed) addTo(users, each, draft);
    for (const draft of catalog.drafts) this.#soften(draft, users);
  }

  providersOf(need: AnyNeed, { home }: Draft): readonly Draft[] {
    const token = wantedToken(need);
    return token ? this.#catalog.find(token, home) : [];
  }

  /** What must be up before, without what a request builds. */
  dependenciesOf(draft: Draft): Draft[] {
    return [...(this.#hard.get(draft) ?? []), ...(this.#soft.get(draft) ?? [])].filter(
      (dependency) => tokenOf(dependency).kind !== "request",
    );
  }

  /** All that these need, at the start or at request time. */
  closure(start: readonly Draft[]): Set<Draft> {
    return reach(start, (draft) => [...(this.#hard.get(draft) ?? []), ...(this.#later.get(draft) ?? [])]);
  }

  /** Needs before users; each way back to something whose needs are still being ordered is a cycle. */
  inOrder(onCycle: (path: readonly Draft[]) => void): Draft[] {
    const ordered = new Set<Draft>();
    for (const root of this.#catalog.drafts) {
      // a list of our own: a long chain must not use up the stack
      const path = new Map([[root, this.#before(root)]]);
      const ends = [root];
      for (let draft = ends.at(-1); draft; draft = ends.at(-1)) {
        const { value: next } = ordered.has(draft) ? {} : (path.get(draft)?.next() ?? {});
        if (!next) {
          ordered.add(draft);
          path.delete(draft);
          ends.pop();
        } else if (path.has(next)) onCycle([...ends.slice(ends.indexOf(next)), next]);
        else if (!ordered.has(next)) {
          path.set(next, this.#before(next));
          ends.push(next);
        }
      }
    }
    return [...ordered];
  }

  #before(draft: Draft): Iterator<Draft, undefined> {
    return new Set([...(this.#hard.get(draft) ?? []), ...(this.#soft.get(draft) ?? [])]).values();
  }

  #soften(draft: Draft, users: Map<Draft, Draft[]>): void {
    const later = this.#later.get(draft) ?? [];
    if (later.length === 0 || tokenOf(draft).kind === "request") return;
    const isRequest = (each: Draft): boolean => tokenOf(each).kind === "request";
    const perRequest = reach(later, (each) =>
      [...(this.#hard.get(each) ?? []), ...(this.#later.get(each) ?? [])].filter(isRequest),
    );
    const above = reach([draft], (each) => users.get(each) ?? []);
    const needed = new Set([...perRequest].flatMap((each) => this.#hard.get(each) ?? []));
    const soft = [...needed].filter((each) => !isRequest(each) && !above.has(each));
    this.#soft.set(draft, soft);
    for (const each of soft) addTo(users, each, draft);
  }
}

/** Puts a value at the end of the list that a key has, or begins one. */
export function addTo<T>(lists: Map<T, T[]>, key: T, value: T): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

function toNodes(drafts: readonly Draft[], links: Links, ground: ReadonlySet<Draft>): Map<Draft, Node> {
  const counts = new Map<string, number>();
  const names = new Set(drafts.map(({ definition }) => definition.provides.name));
  const idOf = (name: string): string => {
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    const id = count === 1 ? name : `${name}#${count}`;
    return count > 1 && names.has(id) ? idOf(name) : id; // a token may have such a name itself
  };
  const nodes = new Map<Draft, Node & { needs: NodeNeed[]; dependencies: Node[] }>();
  for (const draft of drafts) {
    const { definition, module } = draft;
    const id = idOf(definition.provides.name);
    nodes.set(draft, { id, definition, module, needs: [], dependencies: [], ground: ground.has(draft) });
  }
  const nodesOf = (found: readonly Draft[]): Node[] => found.flatMap((draft) => nodes.get(draft) ?? []);
  for (const [draft, node] of nodes) {
    node.dependencies = nodesOf(links.dependenciesOf(draft));
    node.needs = Object.entries(draft.definition.needs).map(([name, need]) => {
      return { name, need, nodes: nodesOf(links.providersOf(need, draft)) };
    });
  }
  return nodes;
}

function reach(start: readonly Draft[], next: (draft: Draft) => readonly Draft[]): Set<Draft> {
  const reached = new Set<Draft>();
  const queue = [...start];
  for (let draft = queue.pop(); draft; draft = queue.pop()) {
    if (reached.has(draft)) continue;
    reached.add(draft);
    queue.push(...next(draft));
  }
  return reached;
}

function settingsOf(need: AnyNeed): SettingsToken[] {
  return need.kind === "settings" ? [need] : need.kind === "live" ? [need.settings] : [];
}
