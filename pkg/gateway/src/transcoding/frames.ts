/** A message of gRPC as it is sent: not compressed, and how long it is. @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md */
export function toFrame(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(message.length + headBytes);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, headBytes);
  return frame;
}

const headBytes = 5;

/** Takes the messages out of the bytes of a reply. */
export class FrameReader {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #held = 0;
  /** Bytes of the frame under way, its head included; that alone as long as it is not whole. */
  #wanted = headBytes;

  /** @param maxBytes - Of one message. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The last message is whole, and no other has begun. */
  get isBetween(): boolean {
    return this.#held === 0;
  }

  /** The messages that are whole with these bytes. Throws for what is no frame, or larger than allowed. */
  take(chunk: Buffer): Buffer[] {
    this.#parts.push(chunk);
    this.#held += chunk.length;
    const messages: Buffer[] = [];
    if (this.#held < this.#wanted) return messages;
    let bytes = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts);
    for (this.#wanted = headBytes; bytes.length >= this.#wanted; this.#wanted = headBytes) {
      if (bytes[0] !== 0) throw new Error("a message of the reply is compressed, which was not asked for");
      const length = bytes.readUInt32BE(1);
      if (length > this.#maxBytes)
        throw new Error(`a message of the reply has ${length} bytes; ${this.#maxBytes} are allowed`);
      this.#wanted = headBytes + length;
      if (bytes.length < this.#wanted) break;
      messages.push(bytes.subarray(headBytes, this.#wanted));
      bytes = bytes.subarray(this.#wanted);
    }
    this.#parts = bytes.length === 0 ? [] : [bytes];
    this.#held = bytes.length;
    return messages;
  }
}
