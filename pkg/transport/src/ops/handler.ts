import type { IncomingMessage, ServerResponse } from "node:http";
import { type ErrorBus, type Health, type Metrics, randomHex } from "@plinth/kernel";
import { methodNotAllowed, toHttpFailure } from "../http/errors.ts";
import { writeProblem } from "../http/raw-reply.ts";

/**
 * Answers `/healthz`, `/ready` and `/metrics` on any `node:http` server.
 * @returns False when the request is for something else, and nothing was written.
 */
export type OpsHandler = (request: IncomingMessage, response: ServerResponse) => boolean;

export const opsPaths: readonly string[] = Object.freeze(["/healthz", "/ready", "/metrics"]);

export interface OpsOptions {
  readonly health: Health;
  readonly metrics: Metrics;
  /** Told when an endpoint itself fails, as when a collector of metrics throws. */
  readonly errors?: ErrorBus;
}

export function createOpsHandler({ health, metrics, errors }: OpsOptions): OpsHandler {
  /** Alive means that this code runs: it never looks outside the process. */
  const healthz = async (): Promise<Reply> => ({
    status: 200,
    contentType: healthType,
    body: JSON.stringify({ status: "pass" }),
  });

  const ready = async (): Promise<Reply> => {
    const { ready: isReady, status, state, checks } = await health.readiness();
    return { status: isReady ? 200 : 503, contentType: healthType, body: JSON.stringify({ status, state, checks }) };
  };

  const scrape = async (): Promise<Reply> => ({ status: 200, ...(await metrics.expose()) });

  const routes: ReadonlyMap<string, () => Promise<Reply>> = new Map([
    ["/healthz", healthz],
    ["/ready", ready],
    ["/metrics", scrape],
  ]);

  return (request, response) => {
    const { url = "" } = request;
    const end = url.indexOf("?");
    const path = end < 0 ? url : url.slice(0, end);
    const route = routes.get(path);
    if (!route) return false;
    if (request.method !== "GET" && request.method !== "HEAD") {
      writeProblem(response, methodNotAllowed, { requestId: randomHex(16), headers: { allow: "GET, HEAD" } });
      return true;
    }
    route().then(
      ({ status, contentType, body }) => {
        response.writeHead(status, {
          "content-type": contentType,
          "content-length": Buffer.byteLength(body),
          "cache-control": "no-store",
        });
        response.end(body);
      },
      (thrown: unknown) => {
        errors?.report(thrown, { origin: "request", attributes: { route: path } });
        writeProblem(response, toHttpFailure(thrown), { requestId: randomHex(16) });
      },
    );
    return true;
  };
}

const healthType = "application/health+json";

interface Reply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}
