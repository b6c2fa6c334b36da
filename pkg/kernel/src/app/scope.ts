import type { Clock } from "../clock.ts";
import { messageOf } from "../errors/app-error.ts";
import { describe } from "./catalog.ts";
import { LifecycleError } from "./errors.ts";
import type { Node } from "./graph.ts";
import { LazyContext } from "./hook-context.ts";
import { cancelGraceMs, hookError, isThenable, type LimitedOptions, withinLimit } from "./limited.ts";
import { needsFirst } from "./needs-first.ts";
import type { RequestScope, ScopeOptions, ScopeValue } from "./request-scope.ts";
import type { RequestToken } from "./token.ts";

/** How one thing is made in any request. */
export interface Plan {
  readonly node: Node;
  /** Needs that live as long as the app, by name. */
  readonly fixed: Readonly<Record<string, unknown>>;
  readonly scoped: readonly { readonly name: string; readonly plan: Plan }[];
}

/** The scopes of one app. */
export interface ScopeOwner {
  readonly clock: Clock;
  /** Limit of a hook that has none of its own, in milliseconds. */
  readonly hookMs: number;
  planOf(token: RequestToken): Plan;
  closed(scope: KernelScope): void;
}

const none: readonly Plan[] = Object.freeze([]);
/** Stands for what is being made in this very moment. */
const beingMade = Symbol("being made");

/**
 * One request's things. While nothing is asynchronous, nothing here is: no promise, timer or signal is made
 * but for hooks that return a promise or ask for their signal.
 */
export class KernelScope implements RequestScope {
  readonly owner: ScopeOwner;
  /** Left as it is: a server's may make its signal only when it is asked for. */
  readonly #request: ScopeOptions;
  /** Made, or being made: then a promise. */
  readonly #values = new Map<Plan, unknown>();
  /** In the order in which they were done: what is needed before what needs it. */
  readonly #made: { readonly node: Node; readonly value: unknown }[] = [];
  #pendingCount = 0;
  #controller: AbortController | undefined;
  #closing: Promise<void> | undefined;

  constructor(owner: ScopeOwner, request: ScopeOptions) {
    this.owner = owner;
    this.#request = request;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      const { signal } = this.#request;
      if (this.#closing) this.#controller.abort(closedError("the request is over"));
      else if (signal?.aborted) this.#onGone();
      else signal?.addEventListener("abort", this.#onGone, { once: true });
    }
    return this.#controller.signal;
  }

  async get<T>(token: RequestToken<T>): Promise<T> {
    if (this.#closing) throw closedError("the request is over");
    const given = this.#request.values?.find((each) => each.token === token);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the provider of the token was checked against its type
    return (given ? given.value : await this.take(this.owner.planOf(token))) as T;
  }

  /** The value, or a promise of it where something on the way to it is asynchronous. */
  take(plan: Plan): unknown {
    if (this.#closing) throw closedError("the request is over");
    if (this.#isHeld(plan)) return this.#heldOf(plan);
    needsFirst(
      plan,
      (each) => this.#missingOf(each),
      (each) => {
        if (!this.#isHeld(each)) this.#begin(each);
      },
    );
    // a create may have closed the scope; what it has made is then stopped
    if (this.#closing) throw closedError("the request is over");
    return this.#heldOf(plan);
  }

  /** What is given needs nothing any more. */
  #missingOf(plan: Plan): readonly Plan[] {
    if (this.#isHeld(plan)) return none;
    let missing: Plan[] | undefined;
    for (const { plan: inner } of plan.scoped) if (!this.#isHeld(inner)) (missing ??= []).push(inner);
    return missing ?? none;
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly #onGone = (): void => this.#controller?.abort(this.#request.signal?.reason);

  #keep(plan: Plan, value: unknown): void {
    this.#values.set(plan, value);
    this.#made.push({ node: plan.node, value });
  }

  #isHeld(plan: Plan): boolean {
    const value = this.#values.get(plan);
    if (value === undefined && !this.#values.has(plan)) return this.#givenFor(plan) !== undefined;
    if (value !== beingMade) return true;
    const what = `${describe(plan.node)} asks for itself while it is being made, or for what needs it`;
    throw new LifecycleError("ERR_APP_TOKEN", "failed_precondition", what);
  }

  #heldOf(plan: Plan): unknown {
    const value = this.#values.get(plan);
    return value === undefined ? this.#givenFor(plan)?.value : value;
  }

  #givenFor({ node }: Plan): ScopeValue | undefined {
    return this.#request.values?.find(({ token }) => token === node.definition.provides);
  }

  #begin(plan: Plan): void {
    this.#values.set(plan, beingMade);
    let made: unknown;
    try {
      made = this.#make(plan);
    } catch (error) {
      this.#values.delete(plan);
      throw error;
    }
    if (!(made instanceof Promise)) {
      this.#keep(plan, made);
      return;
    }
    this.#pendingCount++;
    const pending = made.then(
      (value: unknown) => {
        this.#pendingCount--;
        this.#keep(plan, value);
        return value;
      },
      (error: unknown) => {
        this.#pendingCount--;
        this.#values.delete(plan); // the next to ask tries anew
        throw error;
      },
    );
    pending.catch(() => undefined); // whoever waits is told; when something beside it throws at once, nobody does
    this.#values.set(plan, pending);
  }

  #make(plan: Plan): unknown {
    const needs: Record<string, unknown> = { ...plan.fixed };
    let waiting: Promise<unknown>[] | undefined;
    for (const { name, plan: inner } of plan.scoped) {
      const value = this.#heldOf(inner);
      if (value instanceof Promise) (waiting ??= []).push(value.then((settled: unknown) => (needs[name] = settled)));
      else needs[name] = value;
    }
    return waiting ? Promise.all(waiting).then(() => this.#create(plan, needs)) : this.#create(plan, needs);
  }

  #create({ node }: Plan, needs: Readonly<Record<string, unknown>>): unknown {
    if (this.#closing) throw closedError("the request is over");
    const context = new LazyContext(() => this.signal);
    const result = node.definition.create(needs, context);
    if (!isThenable(result)) return result;
    const onLate = (value: unknown): void => {
      // it came after it was given up: nobody holds it, so it is released here; that it was given up has been told
      void this.#stop(node, value)?.catch(() => undefined);
    };
    // the caller handles what its own provider throws, not our words about it
    return this.#limited(node, "create", result, context, { signal: this.signal, onLate, passErrors: true });
  }

  async #close(): Promise<void> {
    try {
      if (this.#controller) {
        this.#controller.abort(closedError("the request is over"));
        this.#request.signal?.removeEventListener("abort", this.#onGone);
      }
      await Promise.resolve(); // a create that closes its own scope returns first
      if (this.#pendingCount > 0) await Promise.allSettled(this.#values.values());
      let errors: unknown[] | undefined;
      for (let last = this.#made.pop(); last; last = this.#made.pop()) {
        try {
          const stopping = this.#stop(last.node, last.value);
          if (stopping) await stopping;
        } catch (error) {
          (errors ??= []).push(error);
        }
      }
      if (errors === undefined) return;
      const what = `${errors.length} hook${errors.length === 1 ? "" : "s"} failed at the end of a request: ${errors.map(messageOf).join("; ")}`;
      throw new LifecycleError("ERR_SCOPE_STOP", "internal", what, { cause: new AggregateError(errors) });
    } finally {
      this.owner.closed(this);
    }
  }

  #stop(node: Node, value: unknown): Promise<void> | undefined {
    const { stop } = node.definition.hooks;
    if (!stop) return undefined;
    const context = new LazyContext();
    let result: unknown;
    try {
      result = stop(value, context);
    } catch (cause) {
      throw hookError(`stop of ${describe(node)}`, cause);
    }
    return isThenable(result) ? this.#limited(node, "stop", result, context, {}).then(() => undefined) : undefined;
  }

  #limited<T>(
    node: Node,
    hook: "create" | "stop",
    running: PromiseLike<T>,
    context: LazyContext,
    options: Pick<LimitedOptions<T>, "signal" | "onLate" | "passErrors">,
  ): Promise<T> {
    const { clock, hookMs } = this.owner;
    const limitMs = node.definition.limits[`${hook}Ms`] ?? hookMs;
    const what = (): string => `${hook} of ${describe(node)}`;
    return withinLimit(running, context, { clock, what, limitMs, cancelGraceMs, ...options });
  }
}

export function closedError(why: string): LifecycleError {
  return new LifecycleError("ERR_SCOPE_CLOSED", "cancelled", `the request scope is closed: ${why}`);
}
