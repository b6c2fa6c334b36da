import type { Clock } from "../clock.ts";
import type { ConfigStore } from "../config/store.ts";
import type { SettingsToken } from "../config/settings.ts";
import { chainOf } from "./chain.ts";
import { type AppDocument, appDocuments, type WrittenDocument } from "./documents.ts";
import type { Graph, Node, NodeNeed } from "./graph.ts";
import { cancelGraceMs, limited } from "./limited.ts";
import { liveSettings } from "./live-settings.ts";
import { standIn } from "./stand-in.ts";
import { requestScopes } from "./tokens.ts";

export interface DocumentsOptions {
  readonly graph: Graph;
  readonly clock: Clock;
  /** Reads these sections alone, from what needs no network. */
  readonly readConfig: (needed: ReadonlySet<SettingsToken>) => Promise<Pick<ConfigStore, "get" | "subscribe">>;
}

/** What has no limit of its own. */
const createMs = 10_000;

/**
 * Writes the documents of this name of an app that does not run. Of all providers it makes those that the documents are made
 * from, and runs no hook. In the place of what has hooks, a pool or a client, and of what is ground, a stand-in is passed on.
 *
 * @throws {@link ConfigError} when a section that is needed has faults; {@link LifecycleError} when a `create` fails or overruns.
 */
export async function writeDocuments(name: string, options: DocumentsOptions): Promise<readonly WrittenDocument[]> {
  const { graph } = options;
  const writers = graph.all.filter(({ definition }) => definition.provides === appDocuments);
  const plan = new Plan(writers);
  const config = await options.readConfig(plan.settings);
  const making = new Making(plan, config, options);
  const documents = await Promise.all(writers.map((node) => making.make(node)));
  const written: WrittenDocument[] = [];
  for (const document of documents) {
    if (isDocument(document) && document.name === name) written.push(await document.write());
  }
  return written;
}

function isDocument(value: unknown): value is AppDocument {
  return typeof value === "object" && value !== null && "write" in value && "name" in value;
}

/** Which providers are made, and which sections they need. */
class Plan {
  readonly settings = new Set<SettingsToken>();
  readonly #made = new Set<Node>();

  constructor(writers: readonly Node[]) {
    for (const writer of writers) {
      this.#include(writer);
      // What a document is made from is made whatever hooks it has; else it would say nothing of it.
      for (const { need, nodes } of writer.needs)
        if (need.kind === "list") for (const each of nodes) this.#include(each);
    }
  }

  isMade(node: Node): boolean {
    return this.#made.has(node);
  }

  #include(node: Node): void {
    if (this.#made.has(node)) return;
    this.#made.add(node);
    for (const { need, nodes } of node.needs) {
      if (need.kind === "settings") this.settings.add(need);
      if (need.kind === "live") this.settings.add(need.settings);
      if (need.kind === "current") continue;
      for (const each of nodes) if (isPlain(each)) this.#include(each);
    }
  }
}

/** Wiring alone: it has no life of its own. */
function isPlain({ definition: { hooks, provides, ground } }: Node): boolean {
  return !ground && provides.kind !== "request" && provides !== requestScopes && !Object.values(hooks).some(Boolean);
}

class Making {
  readonly #plan: Plan;
  readonly #config: Pick<ConfigStore, "get" | "subscribe">;
  readonly #options: DocumentsOptions;
  readonly #values = new Map<Node, Promise<unknown>>();

  constructor(plan: Plan, config: Pick<ConfigStore, "get" | "subscribe">, options: DocumentsOptions) {
    this.#plan = plan;
    this.#config = config;
    this.#options = options;
  }

  make(node: Node): Promise<unknown> {
    const found = this.#values.get(node);
    if (found) return found;
    const value = this.#plan.isMade(node) ? this.#create(node) : Promise.resolve(standIn(node.id));
    this.#values.set(node, value);
    return value;
  }

  async #create(node: Node): Promise<unknown> {
    const { definition } = node;
    const resolved = await Promise.all(
      node.needs.map(async (need): Promise<[string, unknown]> => [need.name, await this.#resolve(need)]),
    );
    return limited((context) => definition.create(Object.fromEntries(resolved), context), {
      clock: this.#options.clock,
      what: () => `${chainOf(node, "create", this.#options.graph)}, for a document`,
      limitMs: definition.limits.createMs ?? createMs,
      cancelGraceMs,
    });
  }

  async #resolve({ need, nodes }: NodeNeed): Promise<unknown> {
    const [node] = nodes;
    switch (need.kind) {
      case "settings":
        return this.#config.get(need);
      case "live":
        return liveSettings(this.#config, need.settings);
      case "list":
        return Object.freeze(await Promise.all(nodes.map((each) => this.make(each))));
      case "current":
        return standIn(need.token.name);
      default:
        return node && this.make(node);
    }
  }
}
