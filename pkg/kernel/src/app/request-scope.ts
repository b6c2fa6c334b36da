import { LifecycleError } from "./errors.ts";
import { type Provider, provider } from "./provider.ts";
import type { RequestToken } from "./token.ts";

/** What lives for one request: made when first asked for, once, and stopped in reverse at the end. */
export interface RequestScope<Provided extends string = string> extends AsyncDisposable {
  /** Aborts at the end of the request, and when whoever asked has gone. */
  readonly signal: AbortSignal;
  /**
   * The one of this request. Whoever asks while it is being made gets the same; a failure is told to all of them, and
   * the next to ask tries anew.
   * @throws what its `create` throws; {@link LifecycleError} `ERR_SCOPE_CLOSED` after the end, `ERR_SCOPE_INPUT` when a value
   *   was not given, `ERR_APP_TOKEN` when nothing needs it, `ERR_LIFECYCLE_TIMEOUT` when `create` overruns its limit.
   */
  get<T, Name extends Provided>(token: RequestToken<T, Name>): Promise<T>;
  /**
   * Waits for what is still being made, then stops everything, the last made first. Safe to call twice.
   * @throws {@link LifecycleError} `ERR_SCOPE_STOP` when a stop hook failed or overran; the others have still run.
   */
  close(): Promise<void>;
}

export interface ScopeOptions {
  /** Aborts when whoever asked has gone: hooks that run are told by their signal. */
  readonly signal?: AbortSignal | undefined;
  /** What the opener gives instead of a provider: the request itself, for instance. The scope does not stop these. */
  readonly values?: readonly ScopeValue[];
}

export interface ScopeValue {
  readonly token: RequestToken;
  readonly value: unknown;
}

/** Opens request scopes: for servers, job runners and tests. Every app provides it. */
export interface RequestScopes {
  /** How many are open now. */
  readonly openCount: number;
  /** @throws {@link LifecycleError} `ERR_SCOPE_CLOSED` when the app is stopping. */
  open(options?: ScopeOptions): RequestScope;
  /** Runs `fn` as one request: what needs `current(…)` finds its scope, which is closed when `fn` has settled. */
  run<T>(fn: (scope: RequestScope) => T | Promise<T>, options?: ScopeOptions): Promise<T>;
}

/** A value for {@link ScopeOptions.values}, of the type of its token. */
export function scopeValue<T>(token: RequestToken<T>, value: T): ScopeValue {
  return { token, value };
}

/**
 * The provider of what whoever opens a scope gives as a value. Where it was not given, asking for it throws `ERR_SCOPE_INPUT`.
 *
 * @example
 * export const tenant = token("tenant").perRequest<string>();
 * defineModule("tenants", [requestInput(tenant)]);
 * scopes.run(work, { values: [scopeValue(tenant, "acme")] });
 */
export function requestInput<T, const Name extends string>(token: RequestToken<T, Name>): Provider<Name, never, never> {
  return provider<RequestToken<T, Name>>({
    provides: token,
    create: () => {
      const what = `"${token.name}" was not given when the request scope was opened; pass scopeValue(token, value)`;
      throw new LifecycleError("ERR_SCOPE_INPUT", "failed_precondition", what);
    },
  });
}
