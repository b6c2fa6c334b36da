import { IncomingMessage } from "node:http";
import { Duplex } from "node:stream";
import { randomHex, runInContext } from "@plinth/kernel";
import type { Connections } from "./connections.ts";
import type { GatewayCore } from "./core.ts";
import { GatewayResponse } from "./http1-response.ts";
import { answerSocket } from "./malformed.ts";

/**
 * The outermost layer: something threw while a request or a connection was taken in, and nothing inside has caught it. Its
 * caller gets a 500 without its text, and the error bus has it.
 */
export function recover(core: GatewayCore, connections: Connections, thrown: unknown, args: readonly unknown[]): void {
  const response = args.find((arg) => arg instanceof GatewayResponse);
  if (response?.exchange) {
    response.exchange.fault(thrown);
    return;
  }
  const ids = { requestId: randomHex(16), span: { traceId: randomHex(16), spanId: randomHex(8), sampled: false } };
  const attributes = { route: "unmatched" };
  runInContext(ids, () => core.errors.report(thrown, { origin: "request", attributes }));
  const socket =
    args.find((arg) => arg instanceof Duplex) ?? args.find((arg) => arg instanceof IncomingMessage)?.socket;
  if (!socket) return;
  const headers = [`x-request-id: ${ids.requestId}`];
  answerSocket(connections, socket, "gateway_error", { headers, traceId: ids.span.traceId });
}
