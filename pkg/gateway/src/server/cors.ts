import type { CorsConfig } from "../config/schema-edge.ts";
import { headerOf } from "../router/conditions.ts";
import { OriginList } from "./origin-list.ts";

const anyMethod = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** What a page of another origin asks before it sends a request. */
export interface Preflight {
  readonly origin: string;
  readonly method: string;
  /** Value of Access-Control-Request-Headers, or empty. */
  readonly headers: string;
}

/** Reads the question of a page. @returns Undefined for a request that is none. */
export function preflightOf(method: string, headers: readonly string[]): Preflight | undefined {
  if (method !== "OPTIONS") return undefined;
  const origin = headerOf(headers, "origin");
  const asked = headerOf(headers, "access-control-request-method");
  if (origin === undefined || asked === undefined) return undefined;
  return { origin, method: asked, headers: headerOf(headers, "access-control-request-headers") ?? "" };
}

/** Which pages of other origins may call a route. @see https://fetch.spec.whatwg.org/#http-cors-protocol */
export class Cors {
  readonly #origins: OriginList;
  readonly #methods: readonly string[];
  readonly #headers: ReadonlySet<string>;
  readonly #onReply: readonly string[];
  readonly #onPreflight: readonly string[];
  readonly #varies: readonly string[];

  /** @param methods - Of the route; undefined: all. */
  constructor(config: CorsConfig, methods: readonly string[] | undefined) {
    const { origins, credentials, headers, exposeHeaders, maxAgeMs } = config;
    this.#origins = new OriginList(origins);
    const own = config.methods ?? methods ?? anyMethod;
    this.#methods = own.includes("GET") && !own.includes("HEAD") ? [...own, "HEAD"] : own;
    this.#headers = new Set(headers);
    const allowed = credentials ? ["access-control-allow-credentials", "true"] : [];
    const exposed = exposeHeaders.length > 0 ? ["access-control-expose-headers", exposeHeaders.join(", ")] : [];
    this.#onReply = [...allowed, ...exposed];
    this.#onPreflight = [
      ...allowed,
      "access-control-allow-methods",
      this.#methods.join(", "),
      ...(headers.length > 0 ? ["access-control-allow-headers", headers.join(", ")] : []),
      "access-control-max-age",
      `${Math.floor(maxAgeMs / 1e3)}`,
    ];
    this.#varies = this.#origins.isOpen ? [] : ["vary", "origin"];
  }

  /** Headers of a reply. A cache must tell origins apart also where one is not allowed, or there is none. */
  replyHeaders(origin: string | undefined): readonly string[] {
    if (origin === undefined || !this.#origins.has(origin)) return this.#varies;
    return [...this.#varies, "access-control-allow-origin", this.#origins.isOpen ? "*" : origin, ...this.#onReply];
  }

  /** Headers of the answer to a question; undefined when origin, method or a header is not allowed. */
  preflightHeaders({ origin, method, headers }: Preflight): readonly string[] | undefined {
    if (!this.#origins.has(origin) || !this.#methods.includes(method)) return undefined;
    const asked = headers.split(",").map((name) => name.trim().toLowerCase());
    if (!asked.every((name) => name === "" || this.#headers.has(name))) return undefined;
    return [...this.#varies, "access-control-allow-origin", this.#origins.isOpen ? "*" : origin, ...this.#onPreflight];
  }
}
