import assert from "node:assert/strict";
import type { RequestScopes } from "@plinth/kernel";

/** One call that is to fail: `info`, and what it is given. */
export type IsBroken = (method: string, args: readonly unknown[]) => boolean;

/**
 * The same object, whose methods throw where `isBroken` says so, as do those of the objects that they return: a span of a
 * tracer, a histogram of metrics.
 */
export function failing<T extends object>(target: T, isBroken: IsBroken): T {
  return new Proxy(target, {
    get(_target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown => {
        if (isBroken(String(name), args)) throw new Error(`${String(name)} of a layer failed`);
        const result: unknown = Reflect.apply(value, target, args);
        const isPlain = typeof result !== "object" || result === null || result instanceof Promise;
        return isPlain ? result : failing(result, isBroken);
      };
    },
  });
}

/** Breaks the methods of these names. */
export function named(...names: readonly string[]): IsBroken {
  return (method) => names.includes(method);
}

/** Scopes of requests with nothing in them. */
export const emptyScopes: RequestScopes = {
  openCount: 0,
  open: () => ({
    signal: AbortSignal.abort(),
    get: () => assert.fail("nothing is in it"),
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  }),
  run: () => assert.fail("servers open scopes by themselves"),
};
