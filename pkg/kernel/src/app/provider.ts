import type { SettingsToken } from "../config/settings.ts";
import { requireNumber } from "../errors/option-error.ts";
import type { ListToken, Token } from "./token.ts";

export type AnyToken = Token | ListToken;
export type AnyNeed = AnyToken | SettingsToken;
export type Needs = Readonly<Record<string, AnyNeed>>;

/** What a token stands for once resolved: one value, all values of a list, or the validated settings. */
export type ValueOf<N> =
  N extends Token<infer T>
    ? T
    : N extends ListToken<infer T>
      ? readonly T[]
      : N extends SettingsToken<infer T>
        ? T
        : never;
type ElementOf<P> = P extends Token<infer T> ? T : P extends ListToken<infer T> ? T : never;
type Resolved<N extends Needs> = { readonly [K in keyof N]: ValueOf<N[K]> };

export interface HookContext {
  /** Aborts when the hook's limit or its phase's total has passed, or when a start is cancelled. */
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

export interface ProviderDefinition<P extends AnyToken, N extends Needs> {
  readonly provides: P;
  /** Up (created and started) before `create` runs, still up until `stop` has returned. */
  readonly needs?: N;
  readonly create: (needs: Resolved<N>, context: HookContext) => ElementOf<P> | Promise<ElementOf<P>>;
  /** Makes it work: connect, warm, listen. */
  readonly start?: (value: ElementOf<P>, context: HookContext) => void | Promise<void>;
  /** After everything has started and the app is ready: tell the world, for instance register. */
  readonly join?: (value: ElementOf<P>, context: HookContext) => void | Promise<void>;
  /** First step of a stop, while everything still serves: take back what `join` did. */
  readonly leave?: (value: ElementOf<P>, context: HookContext) => void | Promise<void>;
  /** Stop taking new work and finish what is in flight; everything needed still works. */
  readonly drain?: (value: ElementOf<P>, context: HookContext) => void | Promise<void>;
  /** Release it. Runs once for everything that was created, also when its `start` failed or never ran. */
  readonly stop?: (value: ElementOf<P>, context: HookContext) => void | Promise<void>;
  readonly limits?: HookLimits;
  /** Up before everything that is not ground, down after it: ops endpoints, error bus, trace export. Default false. */
  readonly ground?: boolean;
}

/** A definition whose types were checked when it was made; the container handles values as `unknown`. */
export interface ErasedDefinition {
  readonly provides: AnyToken;
  readonly needs: Needs;
  readonly create: (needs: Readonly<Record<string, unknown>>, context: HookContext) => unknown;
  readonly hooks: Readonly<Record<HookName, ErasedHook | undefined>>;
  readonly limits: HookLimits;
  readonly ground: boolean;
  /** The stack of the `provider` call; its caller is shown as file:line in fault reports. */
  readonly origin: { readonly stack?: string | undefined };
}

export type ErasedHook = (value: unknown, context: HookContext) => void | Promise<void>;
export type HookName = "start" | "join" | "leave" | "drain" | "stop";

/** One way to make one thing. Its type parameters are the names it provides and needs. */
export interface Provider<Provides extends string = string, Wants extends string = string> {
  readonly kind: "provider";
  readonly definition: ErasedDefinition;
  readonly "~graph"?: { readonly provides: Provides; readonly needs: Wants };
}

type WantedNames<N extends Needs> = { [K in keyof N]: N[K] extends Token<unknown, infer Name> ? Name : never }[keyof N];

/** Of a provider that needs nothing: no key at all, so that no name is needed. */
// oxlint-disable-next-line typescript/no-generated-empty-object-type -- with any key, names would follow from it
type NoNeeds = Record<never, never>;

/**
 * Describes how one thing is made, started and stopped. Types of `create` and of all hooks follow from
 * `provides` and `needs`; nothing runs until the app starts, and then once.
 *
 * A provider is built when it has a `start` or `join` hook, when it is ground, when the app exposes it, or when something
 * built needs it.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when a limit is out of range.
 */
export function provider<P extends AnyToken, const N extends Needs = NoNeeds>(
  definition: ProviderDefinition<P, N>,
): Provider<P["name"], WantedNames<N>> {
  const origin: { stack?: string } = {};
  Error.captureStackTrace(origin, provider);
  const { provides, needs, create, start, join, leave, drain, stop, limits, ground } = definition;
  for (const [name, limitMs] of Object.entries<number>({ ...limits })) {
    requireNumber(`limits.${name} of "${provides.name}"`, limitMs, { min: 1 });
  }
  // Types are erased here and nowhere else: the container resolves by token, and this signature has tied each token to its type.
  const erase = (hook?: (value: ElementOf<P>, context: HookContext) => void | Promise<void>): ErasedHook | undefined =>
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as said above
    hook && ((value, context) => hook(value as ElementOf<P>, context));
  return {
    kind: "provider",
    definition: {
      provides,
      needs: needs ?? {},
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as said above
      create: (resolved, context) => create(resolved as Resolved<N>, context),
      hooks: { start: erase(start), join: erase(join), leave: erase(leave), drain: erase(drain), stop: erase(stop) },
      limits: limits ?? {},
      ground: ground ?? false,
      origin,
    },
  };
}

/** A named list of providers: wiring only. Its type parameters are the names it provides and still needs. */
export interface Module<Provides extends string = string, Wants extends string = string> {
  readonly kind: "module";
  readonly name: string;
  readonly parts: readonly (Provider | Module)[];
  readonly "~graph"?: { readonly provides: Provides; readonly needs: Wants };
}

type Part = Provider | Module;
export type ProvidedBy<P> = P extends { readonly "~graph"?: { readonly provides: infer Names } }
  ? Names & string
  : never;
export type NeededBy<P> = P extends { readonly "~graph"?: { readonly needs: infer Names } } ? Names & string : never;

/**
 * Groups providers, and other modules, under a name.
 *
 * @example export const notesModule = defineModule("notes", [provideNotes, notesRoutes]);
 */
export function defineModule<const Parts extends readonly Part[]>(
  name: string,
  parts: Parts,
): Module<ProvidedBy<Parts[number]>, Exclude<NeededBy<Parts[number]>, ProvidedBy<Parts[number]>>> {
  return { kind: "module", name, parts: Object.freeze([...parts]) };
}
