import assert from "node:assert/strict";
import type { RequestScopes, Tracing } from "@plinth/kernel";
import type { Layers } from "./http.ts";
import { RecordingTracing } from "./recording-tracing.ts";

/** One call that is to fail: `info`, and what it is given. */
export type IsBroken = (method: string, args: readonly unknown[]) => boolean;

/**
 * The same object, whose methods throw where `isBroken` says so, as do those of the objects that they return, and the functions: a span of a
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
        if (typeof result === "function") {
          return (...more: unknown[]): unknown => {
            if (isBroken(String(name), args)) throw new Error(`${String(name)} of a layer failed`);
            return Reflect.apply(result, undefined, more);
          };
        }
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

/** Something around a handler, and what breaks it. */
export interface Layer<Options> {
  readonly name: string;
  readonly isBroken: IsBroken;
  readonly options: (isBroken: IsBroken) => Options;
}

/** What both test servers take. */
interface LayerOptions {
  readonly tracing?: Tracing;
  readonly scopes?: RequestScopes;
  readonly replace?: (layers: Layers) => Partial<Layers>;
}

export const failingTracing = (isBroken: IsBroken): LayerOptions => ({
  tracing: failing(new RecordingTracing(), isBroken),
});

/**
 * The layers that run when the reply is out: it stands.
 * @param line - Message of the access log.
 */
export function layersAfter(line: "request" | "call"): readonly Layer<LayerOptions>[] {
  return [
    { name: "the end of the span", isBroken: named("end"), options: failingTracing },
    { name: "an attribute of the span", isBroken: named("setAttributes"), options: failingTracing },
    {
      name: "metrics",
      isBroken: named("observe"),
      options: (isBroken) => ({ replace: ({ metrics }) => ({ metrics: failing(metrics, isBroken) }) }),
    },
    {
      name: "the access log",
      isBroken: (method, args) => args[method === "shape" ? 1 : 0] === line,
      options: (isBroken) => ({ replace: ({ log }) => ({ log: failing(log, isBroken) }) }),
    },
    {
      name: "the closing of its scope",
      isBroken: named("close"),
      options: (isBroken) => ({ scopes: failing(emptyScopes, isBroken) }),
    },
  ];
}
