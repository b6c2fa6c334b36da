import { AppError, type Tracing } from "@plinth/kernel";
import type { RegistryOperation } from "../registry.ts";
import type { ConsulAddress } from "./address.ts";
import type { ConsulAnswer, ConsulRequest } from "./http.ts";

/** Runs a request inside of a span of its own, or of none. */
export type RequestTracer = (
  operation: RegistryOperation,
  request: ConsulRequest,
  send: () => Promise<ConsulAnswer>,
) => Promise<ConsulAnswer>;

/** What goes on for as long as the app does. */
const endless: ReadonlySet<RegistryOperation> = new Set<RegistryOperation>(["heartbeat", "inspect", "watch"]);

/**
 * The agent is nobody who makes spans: it is told no trace. Ids and names of services stand in `url.path` and never in the span's name.
 * @see https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client
 */
export function traceRequests(tracing: Tracing | undefined, { origin, socketPath }: ConsulAddress): RequestTracer {
  if (tracing === undefined) return (_operation, _request, send) => send();
  const { hostname, port, protocol } = new URL(origin);
  const server =
    socketPath === undefined
      ? {
          "server.address": hostname,
          "server.port": port === "" ? (protocol === "https:" ? 443 : 80) : Number(port),
        }
      : { "server.address": socketPath };
  return async (operation, { method, path }, send) => {
    if (endless.has(operation)) return send();
    const span = tracing.startSpan(`consul ${operation}`, { kind: "client" });
    if (span.sampled)
      span.setAttributes({
        ...server,
        "http.request.method": method,
        "url.full": `${origin}${path}`,
        "plinth.operation": operation,
      });
    try {
      const answer = await send();
      span.setAttribute("http.response.status_code", answer.status);
      return answer;
    } catch (error) {
      // also one that is aborted: whoever asked did not get it
      span.fail(AppError.from(error));
      throw error;
    } finally {
      span.end();
    }
  };
}
