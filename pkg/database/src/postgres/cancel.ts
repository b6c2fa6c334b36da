import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectSecure, type ConnectionOptions } from "node:tls";
import type { Client } from "pg";

const cancelRequestCode = 80_877_102;
const tlsRequestCode = 80_877_103;

/** What the server needs to know to cancel what one connection runs; undefined when it gave no key. */
export interface CancelKey {
  readonly processId: number;
  readonly secretKey: number;
}

/** Where a connection leads to: the very server, whatever its name means by now. */
export interface CancelAddress {
  /** An address, or a folder of Unix sockets. */
  readonly host: string;
  readonly port: number;
  /** As for the connection itself: the key must not cross the network in the open. */
  readonly tls: ConnectionOptions | undefined;
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
export async function sendCancelRequest(address: CancelAddress, key: CancelKey, signal: AbortSignal): Promise<void> {
  // A host that begins with a slash is a folder of Unix sockets, as for libpq.
  const socket = address.host.startsWith("/")
    ? connectPlain(`${address.host}/.s.PGSQL.${address.port}`)
    : connectPlain(address.port, address.host);
  const { promise: closed, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = (): void => void socket.destroy(new Error("the server did not take the cancel request in time"));
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  socket.once("error", reject);
  socket.once("close", () => resolve());
  const request = messageOf(cancelRequestCode, key.processId, key.secretKey);
  const { tls } = address;
  socket.once("connect", () => {
    if (tls) encrypt(socket, tls, reject, (secure) => secure.write(request));
    else socket.resume().write(request);
  });
  try {
    await closed;
  } finally {
    signal.removeEventListener("abort", onAbort);
    socket.destroy();
  }
}

/** Asks the server for TLS, as each connection does, and goes on when it is there. */
function encrypt(
  socket: Socket,
  tls: ConnectionOptions,
  fail: (error: Error) => void,
  then: (secure: Socket) => void,
): void {
  socket.write(messageOf(tlsRequestCode));
  socket.once("data", (answer) => {
    if (answer.toString() !== "S") {
      fail(new Error("the server does not take the cancel request over TLS"));
      return;
    }
    const secure = connectSecure({ ...tls, socket });
    secure.once("error", fail);
    secure.once("secureConnect", () => then(secure.resume()));
  });
}

function messageOf(...words: readonly number[]): Buffer {
  const message = Buffer.alloc(4 * (words.length + 1));
  message.writeInt32BE(message.length, 0);
  for (const [index, word] of words.entries()) message.writeInt32BE(word, 4 * (index + 1));
  return message;
}
