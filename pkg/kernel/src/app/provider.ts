import { requireNumber } from "../errors/option-error.ts";
import type { Needs, Resolved, WantedNames } from "./needs.ts";
import type { AnyToken, ElementOf, RequestToken } from "./token.ts";
import { phraseOf, refuse, requireKnownKeys, requireObject } from "./untyped-options.ts";

export interface HookContext {
  /** Aborts when the hook's limit or its phase's total has passed, when a start is cancelled, or when the request is over. */
  readonly signal: AbortSignal;
}

/**
 * Milliseconds that each call of this provider may take, 1 or more; `Infinity` is limited by its phase alone.
 * Default for each: `lifecycle.hookMs`, 10_000, but for `drainMs`: `lifecycle.drainMs`, 15_000.
 */
export interface HookLimits {
  readonly createMs?: number;
  readonly startMs?: number;
  readonly joinMs?: number;
  readonly leaveMs?: number;
  readonly drainMs?: number;
  readonly stopMs?: number;
}

export interface StopContext extends HookContext {
  /** Whether it was up: false when its `start` failed or never ran, and there is nothing to save. */
  readonly hasStarted: boolean;
}

/** What `create` returns. With a name of its own, so that the compiler's message names the token. */
export type Made<P> = ElementOf<P> | Promise<ElementOf<P>>;
/** A promise that it returns is waited for; what else it returns does not matter. */
type Hook<P, C = HookContext> = (value: ElementOf<P>, context: C) => unknown;
/** A hook of the app's life: what lives for one request has none. */
type AppHook<P> =
  P extends RequestToken<unknown, infer Name>
    ? { readonly "lives for one request, and has no other hooks than create and stop": Name }
    : Hook<P>;
/** An object that no needs are, naming what is gone before the provider is; nothing where all is well. */
type LivesLongEnough<P, N extends Needs> = P extends RequestToken
  ? unknown
  : {
      readonly [K in keyof N as N[K] extends RequestToken ? K : never]: N[K] extends RequestToken<unknown, infer Name>
        ? { readonly "lives for one request, its user for longer; ask for current(token) instead": Name }
        : never;
    };

export interface ProviderDefinition<P extends AnyToken, N extends Needs, Private extends boolean = boolean> {
  readonly provides: P;
  /** Up (created and started) before `create` runs, still up until `stop` has returned. */
  readonly needs?: N & LivesLongEnough<P, N>;
  readonly create: (needs: Resolved<N>, context: HookContext) => Made<P>;
  /** Makes it work: connect, warm, listen. */
  readonly start?: AppHook<P>;
  /** After everything has started and the app is ready: tell the world, for instance register. */
  readonly join?: AppHook<P>;
  /** First step of a stop, while everything still serves: take back what `join` did. */
  readonly leave?: AppHook<P>;
  /** Stop taking new work and finish what is in flight; everything needed still works. */
  readonly drain?: AppHook<P>;
  /** Release it. Runs once for everything that was created, also when its `start` failed or never ran. */
  readonly stop?: Hook<P, StopContext>;
  readonly limits?: HookLimits;
  /** Up before everything that is not ground, down after it: ops endpoints, error bus, trace export. Default false. */
  readonly ground?: P extends RequestToken ? false : boolean;
  /** Seen only by the module that holds it, and by the modules in that one. Default false. */
  readonly private?: Private;
}

/** A definition whose types were checked when it was made; the container handles values as `unknown`. */
export interface ErasedDefinition {
  readonly provides: AnyToken;
  readonly needs: Needs;
  readonly create: (needs: Readonly<Record<string, unknown>>, context: HookContext) => unknown;
  readonly hooks: Readonly<Record<HookName, ErasedHook | undefined>>;
  readonly limits: HookLimits;
  readonly ground: boolean;
  readonly private: boolean;
  /** The stack of the `provider` call; its caller is shown as file:line in fault reports. */
  readonly origin: { readonly stack?: string | undefined };
}

export type ErasedHook = (value: unknown, context: StopContext) => unknown;
export type HookName = "start" | "join" | "leave" | "drain" | "stop";

/** One way to make one thing. Its type parameters are the names it provides, needs, and provides to its own module only. */
export interface Provider<
  Provides extends string = string,
  Wants extends string = string,
  Hides extends string = string,
> {
  readonly kind: "provider";
  readonly definition: ErasedDefinition;
  readonly "~graph"?: { readonly provides: Provides; readonly needs: Wants; readonly hides: Hides };
}

/** Of a provider that needs nothing: no key at all, so that no name is needed. */
// oxlint-disable-next-line typescript/no-generated-empty-object-type -- with any key, names would follow from it
type NoNeeds = Record<never, never>;

/**
 * Describes how one thing is made, started and stopped. Types of `create` and of all hooks follow from
 * `provides` and `needs`; nothing runs until the app starts, and then once. What a request token stands for is made
 * once for each request that asks for it, and stopped at the request's end.
 *
 * A provider is built when it has a `start` or `join` hook, when it is ground, when the app exposes it, or when something
 * built needs it.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when a limit is out of range, `ERR_OPTION_TYPE` when `create` or a hook is no function,
 *   a limit no number, or a key of the definition or its limits not known.
 */
export function provider<P extends AnyToken, const N extends Needs = NoNeeds, const Private extends boolean = false>(
  definition: ProviderDefinition<P, N, Private>,
): Provider<Private extends true ? never : P["name"], WantedNames<N>, Private extends true ? P["name"] : never> {
  const origin: { stack?: string } = {};
  Error.captureStackTrace(origin, provider);
  requireSound(definition);
  const { provides, needs, create, start, join, leave, drain, stop, limits } = definition;
  // Types are erased here and nowhere else: the container resolves by token, and this signature has tied each token to its type.
  const erase = (hook: AppHook<P> | Hook<P, StopContext> | undefined): ErasedHook | undefined =>
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as said above
    hook && ((value, context) => (hook as Hook<P, StopContext>)(value as ElementOf<P>, context));
  return {
    kind: "provider",
    definition: {
      provides,
      needs: needs ?? {},
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as said above
      create: (resolved, context) => create(resolved as Resolved<N>, context),
      hooks: { start: erase(start), join: erase(join), leave: erase(leave), drain: erase(drain), stop: erase(stop) },
      limits: limits ?? {},
      ground: definition.ground === true,
      private: definition.private === true,
      origin,
    },
  };
}

const hookNames = ["start", "join", "leave", "drain", "stop"] as const satisfies readonly HookName[];
const flagNames = ["ground", "private"] as const;
const keys = ["provides", "needs", "create", ...hookNames, "limits", ...flagNames];
const limitKeys = ["createMs", ...hookNames.map((name) => `${name}Ms`)];

/** What the compiler refuses, and code without types gives all the same. That `provides` and needs are tokens, the graph looks at. */
function requireSound(definition: object): void {
  requireObject("definition of a provider", definition);
  const of = (key: string): unknown => Reflect.get(definition, key);
  const provides = of("provides");
  const name: unknown = typeof provides === "object" && provides !== null ? Reflect.get(provides, "name") : undefined;
  const who = typeof name === "string" ? `"${name}"` : `a provider of ${phraseOf(provides)}`;
  requireKnownKeys(definition, keys, (key) => `${key} of ${who}`);
  for (const key of ["create", ...hookNames]) {
    const hook = of(key);
    if (typeof hook === "function" || (hook === undefined && key !== "create")) continue;
    refuse(`${key} of ${who} must be a function, not ${hook === null ? "null" : typeof hook}`);
  }
  for (const key of flagNames) {
    const flag = of(key);
    if (flag === undefined || typeof flag === "boolean") continue;
    refuse(`${key} of ${who} must be true or false, not ${phraseOf(flag)}`);
  }
  const needs = of("needs") ?? {};
  if (typeof needs !== "object") refuse(`needs of ${who} must be an object, not ${phraseOf(needs)}`);
  requireLimits(of("limits") ?? {}, who);
}

function requireLimits(limits: object, who: string): void {
  requireObject(`limits of ${who}`, limits);
  const toName = (key: string): string => `limits.${key} of ${who}`;
  requireKnownKeys(limits, limitKeys, toName);
  for (const [key, limitMs] of Object.entries<unknown>({ ...limits })) {
    if (typeof limitMs !== "number") refuse(`${toName(key)} must be a number, not ${phraseOf(limitMs)}`);
    requireNumber(toName(key), limitMs, { min: 1 });
  }
}
