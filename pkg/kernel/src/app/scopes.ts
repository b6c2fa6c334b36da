import type { Clock } from "../clock.ts";
import { currentContext, deriveContext, runInContext } from "../context.ts";
import { describe } from "./catalog.ts";
import { LifecycleError } from "./errors.ts";
import type { Graph, Node, NodeNeed } from "./graph.ts";
import { limited } from "./limited.ts";
import { needsFirst } from "./needs-first.ts";
import { closedError, KernelScope, type Plan, type ScopeOwner } from "./scope.ts";
import type { RequestScope, RequestScopes, ScopeOptions } from "./request-scope.ts";
import type { RequestToken } from "./token.ts";

export interface ScopesOptions {
  readonly graph: Graph;
  readonly clock: Clock;
  /** Limit of a create or stop hook that has none of its own, in milliseconds. */
  readonly hookMs: number;
  /** The value of something that lives as long as the app. */
  readonly resolve: (need: NodeNeed) => unknown;
  readonly isUp: (node: Node) => boolean;
}

/** All request scopes of one app. */
export class Scopes implements RequestScopes, ScopeOwner {
  readonly clock: Clock;
  readonly hookMs: number;
  readonly #options: ScopesOptions;
  readonly #plans = new Map<Node, Plan>();
  readonly #open = new Set<KernelScope>();
  #isClosed = false;

  constructor(options: ScopesOptions) {
    this.#options = options;
    this.clock = options.clock;
    this.hookMs = options.hookMs;
  }

  get openCount(): number {
    return this.#open.size;
  }

  open(request: ScopeOptions = {}): RequestScope {
    if (this.#isClosed) throw closedError("the app is stopping");
    const scope = new KernelScope(this, request);
    this.#open.add(scope);
    return scope;
  }

  async run<T>(fn: (scope: RequestScope) => T | Promise<T>, options: ScopeOptions = {}): Promise<T> {
    await using scope = this.open(options);
    return await runInContext(deriveContext(currentContext(), { scope, signal: options.signal }), () => fn(scope));
  }

  /** For `current(…)`: gives the one of the request being served. */
  getter(node: Node | undefined): () => Promise<unknown> {
    return async () => {
      const scope = currentContext()?.scope;
      if (node && scope instanceof KernelScope && scope.owner === this) return scope.take(this.#planOf(node));
      const what = `${node ? describe(node) : "it"} lives for one request, and no request of this app is being served here`;
      throw new LifecycleError("ERR_SCOPE_NONE", "failed_precondition", `${what}; use RequestScopes.run`);
    };
  }

  /** Refuses new ones and closes those that are open, as far as `signal` lets it. */
  async closeAll(signal: AbortSignal, cancelGraceMs: number): Promise<unknown[]> {
    this.#isClosed = true;
    if (this.#open.size === 0) return [];
    const what = `closing ${this.#open.size} request scopes`;
    // begun, and settled for whoever waits, also when the time is already up
    const closing = Promise.allSettled(Array.from(this.#open, (scope) => scope.close()));
    const options = { clock: this.clock, what: () => what, limitMs: Infinity, signal, cancelGraceMs };
    try {
      const results = await limited(() => closing, options);
      return results.filter((result) => result.status === "rejected").map(({ reason }): unknown => reason);
    } catch (error) {
      return [error];
    }
  }

  closed(scope: KernelScope): void {
    this.#open.delete(scope);
  }

  planOf(token: RequestToken): Plan {
    const [node] = this.#options.graph.byToken.get(token) ?? [];
    if (node) return this.#planOf(node);
    const why = "nothing needs it, so it is not made; name it in the app's `expose` list";
    throw new LifecycleError("ERR_APP_TOKEN", "failed_precondition", `"${token.name}" is not there: ${why}`);
  }

  /** What is the same for each request is looked up once. */
  #planOf(node: Node): Plan {
    const known = this.#plans.get(node);
    if (known) return known;
    needsFirst(
      node,
      (each) => scopedNeedsOf(each).flatMap(({ inner }) => (this.#plans.has(inner) ? [] : [inner])),
      (each) => {
        if (!this.#plans.has(each)) this.#plans.set(each, this.#toPlan(each));
      },
    );
    return this.#planOf(node);
  }

  /** Of a node whose own needs have a plan. */
  #toPlan(node: Node): Plan {
    const missing = node.dependencies.find((dependency) => !this.#options.isUp(dependency));
    if (missing) {
      const what = `${describe(node)} cannot be made: ${describe(missing)} is not up`;
      throw new LifecycleError("ERR_APP_TOKEN", "failed_precondition", what);
    }
    const scopedNeeds = scopedNeedsOf(node);
    const scopedNames = new Set(scopedNeeds.map(({ name }) => name));
    const fixed = node.needs.filter(({ name }) => !scopedNames.has(name));
    return {
      node,
      fixed: Object.fromEntries(fixed.map((need) => [need.name, this.#options.resolve(need)])),
      scoped: scopedNeeds.map(({ name, inner }) => ({ name, plan: this.#planOf(inner) })),
    };
  }
}

function scopedNeedsOf({ needs }: Node): { readonly name: string; readonly inner: Node }[] {
  return needs.flatMap(({ name, need, nodes: [inner] }) => (need.kind === "request" && inner ? [{ name, inner }] : []));
}
