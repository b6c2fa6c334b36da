import type { StickBy } from "../config/schema-backends.ts";
import { cookieIn, headerOf } from "../router/conditions.ts";
import type { Route } from "./route.ts";

/** One of several that share the requests of a route: the route as it is with this one behind it. */
export interface Backend {
  readonly route: Route;
  readonly weight: number;
}

export interface BackendsOptions {
  readonly backends: readonly Backend[];
  readonly stickBy: StickBy;
  /** Source of chance in [0, 1). Default `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/**
 * Shares requests by weight. What sticks goes by a hash over the weights in the document's order: where one weight grows and its
 * neighbour's shrinks, only callers between the two move.
 */
export class Backends {
  readonly #backends: readonly Backend[];
  readonly #stickBy: StickBy;
  readonly #random: () => number;

  constructor({ backends, stickBy, random = Math.random }: BackendsOptions) {
    this.#backends = backends.filter(({ weight }) => weight > 0);
    this.#stickBy = stickBy;
    this.#random = random;
  }

  /**
   * @param headers - Of the request, name and value by turns.
   * @param subject - Unique among all callers; undefined without a token.
   * @returns One that has instances; if none has, the one whose turn it is.
   */
  choose(headers: readonly string[], subject: string | undefined): Route | undefined {
    const key = this.#keyOf(headers, subject);
    const point = key === undefined ? this.#random() : hashOf(key);
    const chosen = at(this.#backends, point);
    if (chosen === undefined || hasInstances(chosen)) return chosen?.route;
    return (at(this.#backends.filter(hasInstances), point) ?? chosen).route;
  }

  #keyOf(headers: readonly string[], subject: string | undefined): string | undefined {
    const stickBy = this.#stickBy;
    if (stickBy === undefined) return undefined;
    if (stickBy === "subject") return subject;
    if ("header" in stickBy) return headerOf(headers, stickBy.header) || undefined;
    return cookieIn(headers, stickBy.cookie) || undefined;
  }
}

function hasInstances({ route: { pool } }: Backend): boolean {
  pool.refresh();
  return pool.seats.length > 0;
}

function at(backends: readonly Backend[], point: number): Backend | undefined {
  let left = point * backends.reduce((sum, { weight }) => sum + weight, 0);
  for (const backend of backends) {
    left -= backend.weight;
    if (left < 0) return backend;
  }
  return backends.at(-1);
}

/** Spread evenly over [0, 1): FNV-1a, mixed once more, since values that differ in their last digit alone would lie close together. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
