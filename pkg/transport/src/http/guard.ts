import { messageOf, type RequestContext, runInContext } from "@plinth/kernel";
import { isThenable } from "../thenable.ts";
import { exchangeOf, type HttpExchange } from "./exchange.ts";
import type { FastifyInstance, FastifyRequest, onRouteHookHandler } from "fastify";

/**
 * Closes gaps in fastify's own recovery:
 *
 * - a handler that returns a value and no promise has it sent outside of any recovery, so that a header which cannot be
 *   sent is an uncaught exception;
 * - a hook that throws `null` or `undefined` counts as one that has passed, authentication included;
 * - a hook that calls back from another context, as that of a pooled connection, takes the handler there;
 * - a body's parser that throws or rejects with `null` or `undefined` counts as one that has read an empty body;
 * - what an error handler throws is sent as the reply, with status 200, unless it is an `Error`;
 * - what a handler throws after it has replied or taken the reply over is lost, and a reply taken over hangs.
 */
export function closeGaps(app: FastifyInstance, core: GuardedCore): void {
  override(app, "addHook", (name, hook) => [name, requestHooks.has(String(name)) ? guardHook(hook) : hook]);
  override(app, "setErrorHandler", (handler) => [guardErrorHandler(handler)]);
  override(app, "addContentTypeParser", (...args) => args.map(guardParser));
  app.addHook("onRoute", (route) => guardRoute(route, core));
}

/** Knows the context of each request, and takes what fastify drops. */
export interface GuardedCore {
  /** The context of the request, should a hook have left it. */
  lostBy(request: FastifyRequest): RequestContext | undefined;
  /** A handler failed when its reply was given. */
  failedLate(thrown: unknown, exchange: HttpExchange): void;
}

/** Scopes inherit from the app, so that what is put there holds for all of them. */
function override(app: FastifyInstance, name: string, change: (...args: unknown[]) => unknown[]): void {
  const method: unknown = Reflect.get(app, name);
  if (typeof method !== "function") throw new TypeError(`fastify has no ${name}`);
  Reflect.set(app, name, function guarded(this: unknown, ...args: unknown[]): unknown {
    const scope: unknown = Reflect.apply(method, this, change(...args));
    return scope;
  });
}

const requestHooks: ReadonlySet<string> = new Set([
  "onRequest",
  "preParsing",
  "preValidation",
  "preHandler",
  "preSerialization",
  "onSend",
  "onResponse",
  "onError",
  "onTimeout",
  "onRequestAbort",
]);

function guardRoute(route: Parameters<onRouteHookHandler>[0], core: GuardedCore): void {
  const { handler } = route;
  route.handler = function settled(request, reply) {
    const lost = core.lostBy(request);
    try {
      const result: unknown = lost
        ? runInContext(lost, () => handler.call(this, request, reply))
        : handler.call(this, request, reply);
      return result === undefined || isThenable(result) ? result : Promise.resolve(result);
    } catch (thrown) {
      const exchange = exchangeOf(request.raw);
      if (!reply.sent || !exchange) throw thrown;
      core.failedLate(thrown, exchange);
      return undefined;
    }
  };
  for (const name of requestHooks) {
    const hooks: unknown = Reflect.get(route, name);
    if (hooks !== undefined) Reflect.set(route, name, Array.isArray(hooks) ? hooks.map(guardHook) : guardHook(hooks));
  }
  if (route.errorHandler) Reflect.set(route, "errorHandler", guardErrorHandler(route.errorHandler));
}

/** Async functions are left as they are: what they reject with is taken for a failure, whatever it is. */
function guardHook(hook: unknown): unknown {
  return isFunction(hook) && hook.constructor.name !== "AsyncFunction" ? throwingErrors(hook) : hook;
}

/** The name and the options that stand before the parser are left as they are. */
function guardParser(part: unknown): unknown {
  if (!isFunction(part)) return part;
  const guarded = throwingErrors(part);
  return function parse(this: unknown, ...args: unknown[]): unknown {
    const result: unknown = Reflect.apply(guarded, this, args);
    return isThenable(result) ? Promise.resolve(result).catch(throwError) : result;
  };
}

function guardErrorHandler(handler: unknown): unknown {
  return isFunction(handler) ? throwingErrors(handler) : handler;
}

function isFunction(value: unknown): value is (...args: never) => unknown {
  return typeof value === "function";
}

/** The same function, which throws nothing but `Error`s. */
function throwingErrors(fn: (...args: never) => unknown): (...args: unknown[]) => unknown {
  return function guarded(this: unknown, ...args: unknown[]): unknown {
    try {
      const result: unknown = Reflect.apply(fn, this, args);
      return result;
    } catch (thrown) {
      return throwError(thrown);
    }
  };
}

function throwError(thrown: unknown): never {
  throw thrown instanceof Error ? thrown : new Error(messageOf(thrown), { cause: thrown });
}
