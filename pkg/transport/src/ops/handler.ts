import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { type ErrorBus, type MetricsExposition, randomHex } from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import { methodNotAllowed, toHttpFailure } from "../http/errors.ts";
import { writeProblem } from "../http/raw-reply.ts";
import { plainSecurityHeaders } from "../http/security-headers.ts";
import { healthz, type ProbeOptions, ready } from "./probes.ts";
import type { OpsRoute, OpsRoutes } from "./routes.ts";
import { createScrape } from "./scrape.ts";
import { type OpsGuard, requireOperator } from "./verbose.ts";

/**
 * Answers `/healthz`, `/ready` and `/metrics` on any `node:http` server.
 * @returns False when the request is for something else, and nothing was written.
 */
export type OpsHandler = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface OpsOptions extends ProbeOptions {
  /** What a scrape is answered with. */
  readonly metrics: MetricsExposition;
  /** Endpoints of modules, looked up at each request. Default: none. */
  readonly routes?: OpsRoutes;
  /** Whether the listener is bound to a loopback address, so that callers need no token for the endpoints of modules. Default false. */
  readonly isLocal?: boolean;
  /** Told when an endpoint itself fails, as when a collector of metrics throws. */
  readonly errors?: ErrorBus;
}

/** What replies that no layer has seen have all the same. */
export const opsHeaders = plainSecurityHeaders();

/** What an endpoint answers; its length and `cache-control: no-store` are added. */
export interface OpsReply {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  readonly body: string | Buffer;
}

export function createOpsHandler({
  metrics,
  errors,
  routes: added,
  isLocal = false,
  ...probes
}: OpsOptions): OpsHandler {
  const guard = { token: probes.token, isLocal };
  const routes = new Map<string, (request: IncomingMessage, response: ServerResponse) => OpsReply | Promise<OpsReply>>([
    ["/healthz", (request) => healthz(request, probes)],
    ["/ready", (request) => ready(request, probes)],
    ["/metrics", createScrape(metrics)],
  ]);

  return (request, response) => {
    const { url = "" } = request;
    const end = url.indexOf("?");
    const path = end < 0 ? url : url.slice(0, end);
    const route = routes.get(path) ?? guarded(added?.find(path), guard);
    if (!route) return false;
    if (request.method !== "GET" && request.method !== "HEAD") {
      writeProblem(response, methodNotAllowed, {
        requestId: randomHex(16),
        headers: { ...opsHeaders, allow: "GET, HEAD" },
      });
      return true;
    }
    const answer = async (): Promise<void> => {
      const { status, headers, body } = await route(request, response);
      const length = Buffer.byteLength(body);
      const always = { ...opsHeaders, "content-length": length, "cache-control": "no-store" };
      response.writeHead(status, { ...headers, ...always });
      response.end(body);
    };
    answer().catch((thrown: unknown) => {
      if (response.destroyed) return; // who asked has gone
      const isRefusal = thrown instanceof TransportError;
      if (!isRefusal) errors?.report(thrown, { origin: "request", attributes: { route: path } });
      const headers = isRefusal && thrown.code === "ERR_UNAUTHENTICATED" ? { ...opsHeaders, ...challenge } : opsHeaders;
      writeProblem(response, toHttpFailure(thrown), { requestId: randomHex(16), headers });
    });
    return true;
  };
}

const challenge = { "www-authenticate": 'Bearer realm="ops"' };

/** What a module tells, for those alone who may know. */
function guarded(route: OpsRoute | undefined, guard: OpsGuard) {
  if (!route) return undefined;
  return async (request: IncomingMessage): Promise<OpsReply> => {
    requireOperator(request, guard);
    const { url = "" } = request;
    const at = url.indexOf("?");
    const answer = await route.answer(new URLSearchParams(at < 0 ? "" : url.slice(at)));
    return { status: 200, headers: { "content-type": "application/json" }, body: JSON.stringify(answer) };
  };
}
