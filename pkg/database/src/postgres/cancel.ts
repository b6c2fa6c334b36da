import { connect } from "node:net";
import type { Client } from "pg";

const cancelRequestCode = 80_877_102;

/** What the server needs to know to cancel what one connection runs; undefined when it gave no key. */
export interface CancelKey {
  readonly processId: number;
  readonly secretKey: number;
}

/** pg keeps both since the log-in, without declaring them. */
export function cancelKeyOf(client: Client): CancelKey | undefined {
  const processId: unknown = Reflect.get(client, "processID");
  const secretKey: unknown = Reflect.get(client, "secretKey");
  return typeof processId === "number" && typeof secretKey === "number" ? { processId, secretKey } : undefined;
}

/**
 * Sends a CancelRequest: no log-in, and no connection slot of a server that may have none left.
 * Resolves when the server has closed the connection, which it does after it has signalled the session:
 * from then on the request cannot hit a later statement.
 *
 * @see https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS
 */
export function sendCancelRequest(
  address: { readonly host: string; readonly port: number },
  key: CancelKey,
  signal: AbortSignal,
): Promise<void> {
  const request = Buffer.alloc(16);
  request.writeInt32BE(request.length, 0);
  request.writeInt32BE(cancelRequestCode, 4);
  request.writeInt32BE(key.processId, 8);
  request.writeInt32BE(key.secretKey, 12);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // A host that begins with a slash is a folder of Unix sockets, as for libpq.
  const socket = address.host.startsWith("/")
    ? connect(`${address.host}/.s.PGSQL.${address.port}`)
    : connect(address.port, address.host);
  const onAbort = (): void => void socket.destroy(new Error("the server did not take the cancel request in time"));
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  socket.once("connect", () => socket.write(request));
  socket.once("error", reject);
  socket.once("close", () => {
    signal.removeEventListener("abort", onAbort);
    resolve();
  });
  socket.resume();
  return promise;
}
