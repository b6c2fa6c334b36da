import type { IncomingMessage, ServerResponse } from "node:http";
import type { Health, Metrics } from "@plinth/kernel";

/**
 * Answers `/healthz`, `/ready` and `/metrics` on any `node:http` server.
 * @returns False when the request is for something else, and nothing was written.
 */
export type OpsHandler = (request: IncomingMessage, response: ServerResponse) => boolean;

export const opsPaths: readonly string[] = Object.freeze(["/healthz", "/ready", "/metrics"]);

export interface OpsOptions {
  readonly health: Health;
  readonly metrics: Metrics;
}

export function createOpsHandler({ health, metrics }: OpsOptions): OpsHandler {
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
    const route = routes.get((request.url ?? "").split("?", 1)[0] ?? "");
    if (!route) return false;
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.writeHead(405, { allow: "GET, HEAD", "content-length": 0 }).end();
      return true;
    }
    route().then(
      ({ status, contentType, body }) => {
        response.writeHead(status, {
          "content-type": contentType,
          "content-length": Buffer.byteLength(body),
          "cache-control": "no-store",
        });
        response.end(request.method === "HEAD" ? undefined : body);
      },
      () => response.writeHead(500, { "content-length": 0 }).end(), // a collector that throws: the scrape fails, and its target shows as down
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
