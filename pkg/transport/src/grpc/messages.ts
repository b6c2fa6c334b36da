import { createGunzip, createInflate } from "node:zlib";
import { messageOf } from "@plinth/kernel";
import { TransportError } from "../errors.ts";

/** Flags and length ahead of each message, over gRPC and in streams of the Connect protocol. */
export const prefixBytes = 5;

/** One message as it came. */
export interface Received {
  /** The first byte of its prefix: bit 0 says that it is compressed, others mean something to the Connect protocol. */
  readonly flags: number;
  readonly isCompressed: boolean;
  readonly bytes: Buffer;
}

/** The message that a chunk is, when it is one and no more, and not compressed; a copy, as those of {@link MessageReader}. */
export function onlyMessage(chunk: Buffer, maxBytes: number): Buffer | undefined {
  const length = chunk.length - prefixBytes;
  if (length < 0 || length > maxBytes || chunk[0] !== 0 || chunk.readUInt32BE(1) !== length) return undefined;
  return copyOf(chunk.subarray(prefixBytes));
}

/**
 * Cuts what comes into messages. None of them holds on to what was read from the connection, which is far more than a small message.
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
export class MessageReader {
  readonly #maxBytes: number;
  readonly #tooLarge: (bytes: number) => Error;
  #held: Buffer | undefined;
  #heldBytes = 0;

  /**
   * @param maxBytes - Of one message, without its prefix.
   * @param tooLargeFor - What is thrown for one that says it has more. Default: what a server tells its caller.
   */
  constructor(maxBytes: number, tooLargeFor = (bytes: number): Error => tooLarge(`${bytes} bytes`, maxBytes)) {
    this.#maxBytes = maxBytes;
    this.#tooLarge = tooLargeFor;
  }

  /** Some of a message is here, and the rest is not. */
  get isHalfWay(): boolean {
    return this.#heldBytes > 0;
  }

  /**
   * @param take - Given each message that is whole by now.
   * @throws {@link TransportError} `ERR_REQUEST_TOO_LARGE`: nothing after that can be read.
   */
  push(chunk: Buffer, take: (message: Received) => void): void {
    const isOwn = this.#heldBytes > 0;
    let rest = isOwn ? this.#joined(chunk) : chunk;
    while (rest.length >= prefixBytes) {
      const end = this.#endOf(rest);
      if (rest.length < end) break;
      const bytes = isOwn ? rest.subarray(prefixBytes, end) : copyOf(rest.subarray(prefixBytes, end));
      const flags = rest[0] ?? 0;
      take({ flags, isCompressed: flags === 1, bytes });
      rest = rest.subarray(end);
      this.#held = undefined; // messages may be parts of it
      this.#heldBytes = 0;
    }
    if (rest.length > this.#heldBytes) this.#hold(rest);
  }

  #endOf(bytes: Buffer): number {
    const length = bytes.readUInt32BE(1);
    if (length > this.#maxBytes) throw this.#tooLarge(length);
    return prefixBytes + length;
  }

  /** All that is there, with room for what is known to come. */
  #joined(chunk: Buffer): Buffer {
    this.#hold(chunk);
    return this.#held?.subarray(0, this.#heldBytes) ?? chunk;
  }

  #hold(part: Buffer): void {
    const bytes = this.#heldBytes + part.length;
    if (this.#held === undefined || this.#held.length < bytes) {
      const grown = Buffer.allocUnsafe(Math.max(bytes, 2 * this.#heldBytes));
      this.#held?.copy(grown, 0, 0, this.#heldBytes);
      this.#held = grown;
    }
    part.copy(this.#held, this.#heldBytes);
    this.#heldBytes = bytes;
  }
}

function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafe(bytes.length);
  bytes.copy(copy);
  return copy;
}

/**
 * What a message is once it is no longer compressed.
 * @param encoding - `gzip` or `deflate`, as `grpc-encoding` tells.
 * @param maxBytes - Of the result: a few bytes may become very many.
 * @throws {@link TransportError} `ERR_REQUEST_TOO_LARGE`, or `ERR_REQUEST_BODY` for an encoding that is none of these and bytes that are none of it.
 */
export async function inflate(bytes: Buffer, encoding: string | undefined, maxBytes: number): Promise<Buffer> {
  if (encoding !== "gzip" && encoding !== "deflate") {
    const text = `a message is compressed in another way than gzip and deflate: ${JSON.stringify(encoding?.slice(0, 40) ?? "")}`;
    throw new TransportError("ERR_REQUEST_BODY", "unimplemented", text);
  }
  const parts: Buffer[] = [];
  let size = 0;
  try {
    const inflater = encoding === "gzip" ? createGunzip() : createInflate();
    inflater.end(bytes);
    for await (const part of inflater) {
      if (!Buffer.isBuffer(part)) continue;
      size += part.length;
      if (size > maxBytes) throw tooLarge("more bytes once it is inflated", maxBytes);
      parts.push(part);
    }
  } catch (error) {
    if (error instanceof TransportError) throw error;
    const text = `a message is not ${encoding}: ${messageOf(error)}`;
    throw new TransportError("ERR_REQUEST_BODY", "invalid_argument", text, { cause: error });
  }
  return Buffer.concat(parts, size);
}

/** A message with its prefix, ready to be sent. */
export function framed(bytes: Uint8Array, flags = 0): Buffer {
  const frame = Buffer.allocUnsafe(prefixBytes + bytes.length);
  frame[0] = flags;
  frame.writeUInt32BE(bytes.length, 1);
  frame.set(bytes, prefixBytes);
  return frame;
}

function tooLarge(size: string, maxBytes: number): TransportError {
  const text = `a message has ${size}, more than the ${maxBytes} that this server takes; send less at once`;
  return new TransportError("ERR_REQUEST_TOO_LARGE", "resource_exhausted", text);
}
