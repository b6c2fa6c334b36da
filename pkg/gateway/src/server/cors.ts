import type { CorsConfig } from "../config/schema-edge.ts";
import { headerOf } from "../router/conditions.ts";

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
  readonly #isOpen: boolean;
  readonly #origins: ReadonlySet<string>;
  /** Scheme and what must follow a name below it. */
  readonly #below: readonly (readonly [scheme: string, rest: string])[];
  readonly #methods: readonly string[];
  readonly #headers: ReadonlySet<string>;
  readonly #onReply: readonly string[];
  readonly #onPreflight: readonly string[];
  readonly #varies: readonly string[];

  /** @param methods - Of the route; undefined: all. */
  constructor(config: CorsConfig, methods: readonly string[] | undefined) {
    const { origins, credentials, headers, exposeHeaders, maxAgeMs } = config;
    this.#isOpen = origins.includes("*");
    this.#origins = new Set(origins.filter((one) => !one.includes("*")));
    this.#below = origins
      .filter((origin) => origin.includes("//*."))
      .map((origin) => {
        const [scheme = "", rest = ""] = origin.split("*");
        return [scheme, rest];
      });
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
    this.#varies = this.#isOpen ? [] : ["vary", "origin"];
  }

  /** Headers of a reply. A cache must tell origins apart also where one is not allowed, or there is none. */
  replyHeaders(origin: string | undefined): readonly string[] {
    if (origin === undefined || !this.#allows(origin)) return this.#varies;
    return [...this.#varies, "access-control-allow-origin", this.#isOpen ? "*" : origin, ...this.#onReply];
  }

  /** Headers of the answer to a question; undefined when origin, method or a header is not allowed. */
  preflightHeaders({ origin, method, headers }: Preflight): readonly string[] | undefined {
    if (!this.#allows(origin) || !this.#methods.includes(method)) return undefined;
    const asked = headers.split(",").map((name) => name.trim().toLowerCase());
    if (!asked.every((name) => name === "" || this.#headers.has(name))) return undefined;
    return [...this.#varies, "access-control-allow-origin", this.#isOpen ? "*" : origin, ...this.#onPreflight];
  }

  #allows(origin: string): boolean {
    if (this.#isOpen || this.#origins.has(origin)) return true;
    return this.#below.some(
      ([scheme, rest]) =>
        origin.length > scheme.length + rest.length &&
        origin.startsWith(scheme) &&
        origin.endsWith(rest) &&
        /^[a-z0-9.-]+$/.test(origin.slice(scheme.length, -rest.length)),
    );
  }
}
