import type { SettingsToken } from "../config/settings.ts";
import type { ListToken, RequestToken, Token } from "./token.ts";

/** Needed if some module provides it. */
export interface OptionalNeed<T = unknown> {
  readonly kind: "optional";
  readonly token: Token<T>;
}

/** The one of whatever request is being served. */
export interface CurrentNeed<T = unknown, Name extends string = string> {
  readonly kind: "current";
  readonly token: RequestToken<T, Name>;
}

/** Settings that may change while the app runs. */
export interface LiveNeed<T = unknown> {
  readonly kind: "live";
  readonly settings: SettingsToken<T>;
}

/** Settings as they are now, and as they change. */
export interface LiveSettings<T> {
  readonly current: T;
  /**
   * Calls `listener` after each reload that has changed this section. Returns how to end that.
   * A listener that throws is an uncaught exception of the process; the reload and the other listeners go on.
   */
  subscribe(listener: (next: T, previous: T) => void): () => void;
}

/**
 * Asks for a token that need not be provided: the value is `undefined` where no module provides it.
 *
 * @example needs: { cache: optional(cache) } // create: ({ cache }) => cache?.get(key)
 */
export function optional<T>(token: Token<T>): OptionalNeed<T> {
  return { kind: "optional", token };
}

/**
 * Asks, for something that lives as long as the app, for what lives for one request: the value is a function that gives
 * the one of the request being served. It is made when first asked for, once for each request.
 *
 * The function throws {@link LifecycleError} `ERR_SCOPE_NONE` outside any request of this app, `ERR_SCOPE_CLOSED` after its end,
 * and what the provider's `create` throws.
 *
 * @example needs: { user: current(currentUser) } // in a handler: const { id } = await user();
 */
export function current<T, const Name extends string>(token: RequestToken<T, Name>): CurrentNeed<T, Name> {
  return { kind: "current", token };
}

/**
 * Asks for settings as they are at any time, not only as they were at the start. Which keys can change, their section declares.
 *
 * @example needs: { limits: live(limitSettings) } // limits.current.perSecond, limits.subscribe((next, previous) => …)
 */
export function live<T>(settings: SettingsToken<T>): LiveNeed<T> {
  return { kind: "live", settings };
}

export type AnyNeed = Token | ListToken | RequestToken | SettingsToken | OptionalNeed | CurrentNeed | LiveNeed;
export type Needs = Readonly<Record<string, AnyNeed>>;

/** What a need stands for once resolved. */
export type ValueOf<N> =
  N extends Token<infer T>
    ? T
    : N extends ListToken<infer T>
      ? readonly T[]
      : N extends RequestToken<infer T>
        ? T
        : N extends SettingsToken<infer T>
          ? T
          : N extends OptionalNeed<infer T>
            ? T | undefined
            : N extends CurrentNeed<infer T>
              ? () => Promise<T>
              : N extends LiveNeed<infer T>
                ? LiveSettings<T>
                : never;

export type Resolved<N extends Needs> = { readonly [K in keyof N]: ValueOf<N[K]> };

/** The names that somebody must provide. */
export type WantedNames<N extends Needs> = {
  [K in keyof N]: N[K] extends Token<unknown, infer Name>
    ? Name
    : N[K] extends RequestToken<unknown, infer Name>
      ? Name
      : N[K] extends CurrentNeed<unknown, infer Name>
        ? Name
        : never;
}[keyof N];
