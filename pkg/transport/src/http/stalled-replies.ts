import type { Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";

/**
 * Breaks off connections on which bytes of a reply wait and none has gone out, or come in, for so long: what waits for a
 * reader that takes nothing is held in memory.
 *
 * Left to itself, node would also end those whose handler works on its reply for longer. An upgraded connection is none of
 * the server's any more, and is left alone.
 * @param idleTimeoutMs - Of the connection, in milliseconds; 0 never breaks one off. It takes up to twice as long to notice.
 */
export function cutStalledReplies(server: Server, idleTimeoutMs: number): void {
  if (idleTimeoutMs === 0) return;
  server.timeout = idleTimeoutMs;
  // One listener for all: one of each reply would cost every request.
  server.on("timeout", (socket: ServedSocket) => {
    const { _httpMessage: reply } = socket;
    // A limit that a handler has set for its own connection ends it, unless the handler listens for it too.
    const isOwnLimit = socket.timeout !== idleTimeoutMs && reply?.listenerCount("timeout") === 0;
    if (socket.writableLength > 0 || isOwnLimit || !reply) socket.destroy();
  });
}

interface ServedSocket extends Socket {
  /** Where node keeps the reply that is being given on a connection. */
  readonly _httpMessage?: ServerResponse | null;
}
