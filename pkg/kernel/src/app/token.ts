declare const type: unique symbol;

/**
 * The typed name of one thing in the container. Two tokens are the same only when they are the same object;
 * the name stands in compiler messages, fault reports and metrics.
 */
export interface Token<T = unknown, Name extends string = string> {
  readonly kind: "one";
  readonly name: Name;
  /** Never present at run time: it carries the type. */
  readonly [type]?: () => T;
}

/** A token that any number of modules add to; who needs it gets them all, in the order of the modules. */
export interface ListToken<T = unknown, Name extends string = string> {
  readonly kind: "list";
  readonly name: Name;
  readonly [type]?: () => T;
}

/** A token of what lives for one request only: each request that asks for it gets its own. */
export interface RequestToken<T = unknown, Name extends string = string> {
  readonly kind: "request";
  readonly name: Name;
  readonly [type]?: () => T;
}

export type AnyToken = Token | ListToken | RequestToken;

/** What one provider of a token makes. */
export type ElementOf<P> =
  P extends Token<infer T> ? T : P extends ListToken<infer T> ? T : P extends RequestToken<infer T> ? T : never;

export interface TokenName<Name extends string> {
  /** One provider, one value, as long as the app lives. */
  of<T>(): Token<T, Name>;
  /** Many providers, one value each, as long as the app lives. */
  listOf<T>(): ListToken<T, Name>;
  /** One provider, one value for each request that asks for it, gone when the request is. */
  perRequest<T>(): RequestToken<T, Name>;
}

/**
 * Names a thing that providers make and need.
 *
 * The name and the type come in two calls because TypeScript infers no type argument once one is written,
 * and without the name's literal type the compiler could not say which token is missing.
 *
 * @example
 * export const notes = token("notes").of<NoteStore>();
 * export const healthChecks = token("health.checks").listOf<HealthCheck>();
 * export const currentUser = token("current.user").perRequest<User>();
 */
export function token<const Name extends string>(name: Name): TokenName<Name> {
  return {
    of: <T>() => Object.freeze<Token<T, Name>>({ kind: "one", name }),
    listOf: <T>() => Object.freeze<ListToken<T, Name>>({ kind: "list", name }),
    perRequest: <T>() => Object.freeze<RequestToken<T, Name>>({ kind: "request", name }),
  };
}
