import { type AppError, token } from "@plinth/kernel";
import type { Identity } from "./auth.ts";
import type { Incoming } from "./incoming.ts";
import { TransportError } from "./errors.ts";

/**
 * What surrounds every request, outermost first: the same layers in the same order on every wire. Each can be named as the
 * neighbour of a {@link Middleware}; a layer that a wire has not, or that the config turns off, still marks its place.
 */
export const layers = Object.freeze([
  "recovery",
  "overload",
  "client-address",
  "request-id",
  "trace",
  "log-context",
  "metrics",
  "access-log",
  "instance",
  "deadline",
  "limits",
  "security-headers",
  "cors",
  "route",
  "auth",
  "compression",
] as const);

export type Layer = (typeof layers)[number];

/** How a request ended, once its reply has been handed over. */
export interface RequestOutcome {
  /** Absent where it went well. */
  readonly error: AppError | undefined;
}

/** A request as a middleware sees it. Inside of `route` its route is known; outside it is `unmatched`. */
export interface MiddlewareRequest extends Incoming {
  /** Who asks. Absent outside of `auth`, and for a caller that says nothing of itself. */
  readonly identity: Identity | undefined;
  /** Address of the caller, without port: outside of `client-address` that of the peer, which may be a proxy. `unix` on a Unix socket. */
  readonly clientAddress: string;
  /**
   * Adds a header to the reply or, over gRPC, an entry to the metadata that goes ahead of it.
   * @param name - In lower case.
   * @throws {@link TransportError} `ERR_REPLY_BEGUN` when the reply is on its way.
   */
  setReplyHeader(name: string, value: string): void;
}

/**
 * Code of the user's own around every request, on HTTP and gRPC alike.
 *
 * @example
 * const tenants: Middleware = {
 *   name: "tenants",
 *   after: "auth",
 *   handle: async (request, next) => {
 *     if (request.header("x-tenant") === undefined) throw AppError.invalidArgument("ERR_TENANT_MISSING", "send x-tenant");
 *     await next();
 *   },
 * };
 */
export type Middleware = MiddlewareParts & MiddlewarePlace;

/** The one neighbour that a middleware names. Neither: it is innermost. */
export type MiddlewarePlace =
  | {
      /** The layer or middleware that this one stands right outside of. */
      readonly before?: string;
      readonly after?: undefined;
    }
  | {
      readonly before?: undefined;
      /** The layer or middleware that this one stands right inside of. */
      readonly after?: string;
    };

interface MiddlewareParts {
  /** Unlike every layer's and every other middleware's. */
  readonly name: string;
  /**
   * Runs once for each request. Calls `next` once to go on; throws, before that, to refuse: an `AppError` says how the caller sees it.
   * What it throws after that comes too late for the caller, and is reported.
   * @param next - Resolves when the request has been answered. Never rejects.
   */
  readonly handle: (request: MiddlewareRequest, next: () => Promise<RequestOutcome>) => Promise<void>;
}

/** Middlewares of the app's servers; every module may add some. */
export const middlewares = token("transport.middlewares").listOf<Middleware>();

/** A place in the order: a layer of ours, or a middleware. */
export type Place = Layer | Middleware;

/**
 * All layers with the middlewares between them, outermost first. Several at one place stand as they were given.
 * @throws {@link TransportError} `ERR_MIDDLEWARE_ORDER`, with every fault: a name that is taken, a neighbour that nobody is, both neighbours, a circle.
 */
export function orderOf(given: readonly Middleware[]): readonly Place[] {
  const faults = namesTaken(given);
  const order: Place[] = [...layers];
  let waiting = [...given];
  while (waiting.length > 0) {
    const left = waiting.filter((middleware) => !place(order, middleware));
    if (left.length === waiting.length) break;
    waiting = left;
  }
  const names = new Set<string>([...layers, ...given.map(({ name }) => name)]);
  for (const middleware of waiting) {
    const { name, before, after } = middleware;
    const neighbour = before ?? after ?? "";
    if (hasBoth(middleware)) {
      faults.push(`${name} has both a before and an after; give it one`);
    } else if (names.has(neighbour)) {
      faults.push(
        `${name} stands beside ${neighbour}, which stands beside it in its turn; put one of them beside a layer`,
      );
    } else faults.push(`${name} stands beside ${neighbour}, which nobody is; there are ${[...names].join(", ")}`);
  }
  if (faults.length === 0) return order;
  throw new TransportError(
    "ERR_MIDDLEWARE_ORDER",
    "failed_precondition",
    `middlewares cannot be ordered: ${faults.join("; ")}`,
  );
}

function namesTaken(given: readonly Middleware[]): string[] {
  const taken = new Set<string>(layers);
  const faults: string[] = [];
  for (const { name } of given) {
    if (taken.has(name)) faults.push(`the name ${name} is taken twice; give each middleware one of its own`);
    taken.add(name);
  }
  return faults;
}

/** Which the types forbid, and code without them does not know. */
function hasBoth({
  before,
  after,
}: {
  readonly before?: string | undefined;
  readonly after?: string | undefined;
}): boolean {
  return before !== undefined && after !== undefined;
}

/** @returns False when its neighbour is not there yet. */
function place(order: Place[], middleware: Middleware): boolean {
  const { before, after } = middleware;
  if (hasBoth(middleware)) return false;
  if (before === undefined && after === undefined) {
    order.push(middleware);
    return true;
  }
  const neighbour = before ?? after;
  const at = order.findIndex((each) => nameOf(each) === neighbour);
  if (at < 0) return false;
  if (before !== undefined) order.splice(at, 0, middleware);
  else order.splice(endOfFollowers(order, at), 0, middleware);
  return true;
}

/** Behind those that stand after the same one already. */
function endOfFollowers(order: readonly Place[], at: number): number {
  const name = nameOf(order[at]);
  let end = at + 1;
  while (end < order.length && followed(order[end]) === name) end++;
  return end;
}

function followed(each: Place | undefined): string | undefined {
  return typeof each === "object" ? each.after : undefined;
}

function nameOf(each: Place | undefined): string | undefined {
  return typeof each === "object" ? each.name : each;
}
