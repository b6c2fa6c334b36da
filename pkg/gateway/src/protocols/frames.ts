const closeOpcode = 8;
/** A close frame of a server with the code 1001, "going away". RFC 6455, 5.5.1 and 7.4.1. */
export const goingAwayFrame: Buffer = Buffer.from([0x88, 0x02, 0x03, 0xe9]);

/**
 * Follows the frames of one direction of a WebSocket by their heads alone, to know where one ends: only there may a frame of our own
 * go in between.
 * @see https://www.rfc-editor.org/rfc/rfc6455#section-5.2
 */
export class FrameTrack {
  /** Of the head that is being read: its bytes so far, and how many it has in all. */
  readonly #head = Buffer.alloc(14);
  #headLength = 0;
  #headSize = 2;
  /** Of the frame's payload, still to come. */
  #left = 0;
  /** A close frame has begun: nothing of worth comes after it. */
  hasClosed = false;

  /** Whether the last frame is whole and the next has not begun. */
  get isBetween(): boolean {
    return this.#headLength === 0 && this.#left === 0;
  }

  /**
   * Takes in what goes by.
   * @param stopBetween - Stops at the first end of a frame.
   * @returns How many bytes of the chunk were taken in.
   */
  pass(chunk: Buffer, stopBetween: boolean): number {
    let at = 0;
    while (at < chunk.length) {
      if (stopBetween && this.isBetween) return at;
      if (this.#left > 0) {
        const taken = Math.min(this.#left, chunk.length - at);
        this.#left -= taken;
        at += taken;
      } else at = this.#readHead(chunk, at);
    }
    return at;
  }

  #readHead(chunk: Buffer, from: number): number {
    const head = this.#head;
    let at = from;
    while (at < chunk.length && this.#headLength < this.#headSize) {
      head[this.#headLength++] = chunk[at++] ?? 0;
      if (this.#headLength === 2) this.#headSize = headSizeOf(head[1] ?? 0);
    }
    if (this.#headLength < this.#headSize) return at;
    if (((head[0] ?? 0) & 0x0f) === closeOpcode) this.hasClosed = true;
    this.#left = payloadLength(head);
    this.#headLength = 0;
    this.#headSize = 2;
    return at;
  }
}

function headSizeOf(second: number): number {
  const length = second & 0x7f;
  const mask = second & 0x80 ? 4 : 0;
  return 2 + mask + (length === 126 ? 2 : length === 127 ? 8 : 0);
}

/** Lengths past 2^53 lose their last digits; no such frame comes to its end. */
function payloadLength(head: Buffer): number {
  const length = (head[1] ?? 0) & 0x7f;
  if (length === 126) return head.readUInt16BE(2);
  if (length === 127) return head.readUInt32BE(2) * 2 ** 32 + head.readUInt32BE(6);
  return length;
}
