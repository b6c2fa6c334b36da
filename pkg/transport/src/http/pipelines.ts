import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type HttpFailure, toFailure } from "./errors.ts";

/** So many requests may wait on one connection behind another that is being answered; their handlers run meanwhile. */
const maxWaiting = 100;

const tooMany: HttpFailure = toFailure({
  code: "ERR_REQUEST_REFUSED",
  httpStatus: 429,
  message: `more than ${maxWaiting} requests wait on this connection; read the replies before sending more`,
});

/** Requests that come before the replies to those ahead of them: node would begin all of them at once, whatever those replies are. */
export class Pipelines {
  readonly #waiting = new WeakMap<Socket, number>();

  /**
   * @param refuse - Answers the first request that is one too many, and closes the connection after that. What stands
   * behind it is neither answered nor begun, and no more is read.
   * @returns True when the request is not to be begun.
   */
  isTooMuch(socket: Socket, response: ServerResponse, refuse: (failure: HttpFailure) => void): boolean {
    const count = this.#waiting.get(socket) ?? 0;
    if (count > maxWaiting) return true; // or closed
    this.#waiting.set(socket, count + 1);
    if (count === maxWaiting) {
      socket.pause();
      refuse(tooMany);
      return true;
    }
    response.once("close", () => {
      const left = this.#waiting.get(socket) ?? 0;
      if (left <= maxWaiting) this.#waiting.set(socket, left - 1);
    });
    return false;
  }

  /** The reply that is being given is the connection's last one: what stands behind it is not begun. RFC 9112, 9.6. */
  close(socket: Socket): void {
    this.#waiting.set(socket, Infinity);
  }
}
