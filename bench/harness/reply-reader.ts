/** What came back was not a reply that the load generator can count. */
export class ReplyError extends Error {
  override readonly name = "ReplyError";
}

const headEnd = Buffer.from("\r\n\r\n");
const maxHeadBytes = 16_384;

/**
 * Reads HTTP/1.1 replies off one connection, one at a time, never two in flight.
 *
 * Only replies with `Content-Length` are read: each peer's reply here has a known length, and a reply framed another
 * way means that the peer does different work, which is worth an error.
 */
export class ReplyReader {
  /** Status of the reply that was read last. */
  status = 0;
  /** Body length of the reply that was read last, in bytes. */
  bodyBytes = 0;
  #partialHead: Buffer | undefined;
  #bodyLeft = 0;

  /**
   * Takes the next bytes. They may be overwritten after the call: what must be kept is copied.
   *
   * @returns Whether they completed a reply; {@link status} and {@link bodyBytes} then describe it.
   * @throws {@link ReplyError} on bytes that are no such reply, or that follow a complete one.
   */
  push(chunk: Buffer): boolean {
    if (this.#bodyLeft > 0) return this.#takeBody(chunk.length);
    const bytes = this.#partialHead === undefined ? chunk : Buffer.concat([this.#partialHead, chunk]);
    const end = bytes.indexOf(headEnd);
    if (end === -1) {
      if (bytes.length > maxHeadBytes) throw new ReplyError(`head of more than ${maxHeadBytes} bytes`);
      this.#partialHead = Buffer.from(bytes);
      return false;
    }
    this.#partialHead = undefined;
    this.#readHead(bytes.toString("latin1", 0, end + 2));
    this.#bodyLeft = this.bodyBytes;
    return this.#takeBody(bytes.length - end - headEnd.length);
  }

  #readHead(head: string): void {
    const status = Number(head.slice(9, 12));
    if (!head.startsWith("HTTP/1.1 ") || !(status >= 200 && status <= 599)) {
      throw new ReplyError(`not an HTTP/1.1 reply: ${JSON.stringify(head.slice(0, 60))}`);
    }
    const length = /\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n/i.exec(head)?.[1];
    if (length === undefined) throw new ReplyError(`reply ${status} has no Content-Length`);
    this.status = status;
    this.bodyBytes = Number(length);
  }

  #takeBody(bytes: number): boolean {
    this.#bodyLeft -= bytes;
    if (this.#bodyLeft < 0) throw new ReplyError(`${-this.#bodyLeft} bytes after the end of a reply`);
    return this.#bodyLeft === 0;
  }
}
