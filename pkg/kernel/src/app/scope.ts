import type { Clock } from "../clock.ts";
import { messageOf } from "../errors/app-error.ts";
import { describe } from "./catalog.ts";
import { LifecycleError } from "./errors.ts";
import type { Node } from "./graph.ts";
import { limited, type LimitedOptions } from "./limited.ts";
import type { HookContext } from "./provider.ts";
import type { RequestScope, ScopeOptions, ScopeValue } from "./request-scope.ts";
import type { RequestToken } from "./token.ts";

/** How one thing is made in any request. */
export interface Plan {
  readonly node: Node;
  /** Needs that live as long as the app, by name. */
  readonly fixed: Readonly<Record<string, unknown>>;
  readonly scoped: readonly { readonly name: string; readonly plan: Plan }[];
}

export interface KernelScopeOptions {
  /** Left as it is: a server's may make its signal only when it is asked for. */
  readonly request: ScopeOptions;
  /** Tells the scopes of one app from those of another. */
  readonly owner: object;
  readonly clock: Clock;
  readonly hookMs: number;
  readonly planOf: (token: RequestToken) => Plan;
  readonly onClosed: () => void;
}

const cancelGraceMs = 1_000;
/** Stands for what is being made in this very moment. */
const beingMade = Symbol("being made");

/**
 * One request's things. While nothing is asynchronous, nothing here is: no promise, timer or signal is made
 * but for hooks that return a promise or ask for their signal.
 */
export class KernelScope implements RequestScope {
  readonly owner: object;
  readonly #options: KernelScopeOptions;
  /** Made, or being made: then a promise. */
  readonly #values = new Map<Plan, unknown>();
  /** In the order in which they were done: what is needed before what needs it. */
  readonly #made: { readonly node: Node; readonly value: unknown }[] = [];
  #controller: AbortController | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: KernelScopeOptions) {
    this.owner = options.owner;
    this.#options = options;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      const { signal } = this.#options.request;
      if (this.#closing) this.#controller.abort(closedError("the request is over"));
      else if (signal?.aborted) this.#onGone();
      else signal?.addEventListener("abort", this.#onGone, { once: true });
    }
    return this.#controller.signal;
  }

  async get<T>(token: RequestToken<T>): Promise<T> {
    if (this.#closing) throw closedError("the request is over");
    const given = this.#options.request.values?.find((each) => each.token === token);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the provider of the token was checked against its type
    return (given ? given.value : await this.take(this.#options.planOf(token))) as T;
  }

  /** The value, or a promise of it where something on the way to it is asynchronous. */
  take(plan: Plan): unknown {
    if (this.#closing) throw closedError("the request is over");
    // needs before users, by a list of our own: a long chain must not use up the stack
    const path = [plan];
    for (let top = path.at(-1); top; top = path.at(-1)) {
      const missing = this.#isHeld(top) ? [] : top.scoped.filter(({ plan: inner }) => !this.#isHeld(inner));
      if (missing.length > 0) {
        for (const { plan: inner } of missing.toReversed()) path.push(inner);
      } else {
        path.pop();
        if (!this.#isHeld(top)) this.#begin(top);
      }
    }
    // a create may have closed the scope; what it has made is then stopped
    if (this.#closing) throw closedError("the request is over");
    return this.#heldOf(plan);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly #onGone = (): void => this.#controller?.abort(this.#options.request.signal?.reason);

  #keep(plan: Plan, value: unknown): void {
    this.#values.set(plan, value);
    this.#made.push({ node: plan.node, value });
  }

  #isHeld(plan: Plan): boolean {
    if (!this.#values.has(plan)) return this.#givenFor(plan) !== undefined;
    if (this.#values.get(plan) !== beingMade) return true;
    const what = `${describe(plan.node)} asks for itself while it is being made, or for what needs it`;
    throw new LifecycleError("ERR_APP_TOKEN", "failed_precondition", what);
  }

  #heldOf(plan: Plan): unknown {
    return this.#values.has(plan) ? this.#values.get(plan) : this.#givenFor(plan)?.value;
  }

  #givenFor({ node }: Plan): ScopeValue | undefined {
    return this.#options.request.values?.find(({ token }) => token === node.definition.provides);
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
    const pending = made.then(
      (value: unknown) => {
        this.#keep(plan, value);
        return value;
      },
      (error: unknown) => {
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
        this.#options.request.signal?.removeEventListener("abort", this.#onGone);
      }
      await Promise.resolve(); // a create that closes its own scope returns first
      const pending = [...this.#values.values()].filter((value) => value instanceof Promise);
      if (pending.length > 0) await Promise.allSettled(pending);
      const errors: unknown[] = [];
      for (const { node, value } of this.#made.toReversed()) {
        try {
          await this.#stop(node, value);
        } catch (error) {
          errors.push(error);
        }
      }
      if (errors.length === 0) return;
      const what = `${errors.length} hook${errors.length === 1 ? "" : "s"} failed at the end of a request: ${errors.map(messageOf).join("; ")}`;
      throw new LifecycleError("ERR_SCOPE_STOP", "internal", what, { cause: new AggregateError(errors) });
    } finally {
      this.#options.onClosed();
    }
  }

  #stop(node: Node, value: unknown): Promise<void> | undefined {
    const { stop } = node.definition.hooks;
    if (!stop) return undefined;
    const context = new LazyContext();
    return this.#limited(node, "stop", (async () => stop(value, context))(), context, {});
  }

  #limited<T>(
    node: Node,
    hook: "create" | "stop",
    running: PromiseLike<T>,
    context: LazyContext,
    options: Pick<LimitedOptions<T>, "signal" | "onLate" | "passErrors">,
  ): Promise<T> {
    const { clock, hookMs } = this.#options;
    const limitMs = node.definition.limits[`${hook}Ms`] ?? hookMs;
    const what = (): string => `${hook} of ${describe(node)}`;
    const work = async ({ signal: own }: HookContext): Promise<T> => {
      context.follow(own);
      return running;
    };
    return limited(work, { clock, what, limitMs, cancelGraceMs, isRunning: true, ...options });
  }
}

/** The context of a hook whose signal is made when it is asked for: it aborts with the scope's and at the hook's limit. */
class LazyContext implements HookContext {
  readonly #outer: (() => AbortSignal) | undefined;
  #limit: AbortSignal | undefined;
  #own: AbortController | undefined;
  #signal: AbortSignal | undefined;

  constructor(outer?: () => AbortSignal) {
    this.#outer = outer;
  }

  get signal(): AbortSignal {
    if (!this.#signal) {
      this.#own = new AbortController();
      if (this.#limit?.aborted) this.#own.abort(this.#limit.reason);
      this.#signal = this.#outer ? AbortSignal.any([this.#outer(), this.#own.signal]) : this.#own.signal;
    }
    return this.#signal;
  }

  /** Aborts with `limit` too, which is known only once the hook has returned a promise. */
  follow(limit: AbortSignal): void {
    this.#limit = limit;
    limit.addEventListener("abort", () => this.#own?.abort(limit.reason), { once: true });
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

export function closedError(why: string): LifecycleError {
  return new LifecycleError("ERR_SCOPE_CLOSED", "cancelled", `the request scope is closed: ${why}`);
}
