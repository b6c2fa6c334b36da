import type { Readable, Writable } from "node:stream";
import { type RequestText, toTrailerText } from "./http1-request.ts";

/** A piece this short is copied into one string with what goes before and after it: one plain write. */
const oneWriteBytes = 4_096;

export interface BodyWriterOptions {
  readonly socket: Writable;
  readonly head: RequestText;
  readonly body: Readable;
  readonly trailers: (() => readonly string[] | undefined) | undefined;
  readonly onWritten: () => void;
  /** @param isOurs - What was to be sent is not as the head says, rather than gone. */
  readonly onFailed: (error: Error, isOurs: boolean) => void;
}

/** Writes head and body of a request, no faster than they are taken. */
export class BodyWriter {
  readonly #options: BodyWriterOptions;
  /** The head, until it goes out with the first piece of the body, or without one that is not there yet. */
  #before: string;
  #bytes = 0;
  #isOver = false;

  constructor(options: BodyWriterOptions) {
    this.#options = options;
    this.#before = options.head.text;
    options.body
      .on("data", this.#onData)
      .once("end", this.#onEnd)
      .once("error", this.#onError)
      .once("close", this.#onClose);
    setImmediate(() => {
      if (this.#isOver || this.#before === "") return;
      options.socket.write(this.#before, "latin1");
      this.#before = "";
    });
  }

  /** The connection takes more. */
  resume(): void {
    if (!this.#isOver) this.#options.body.resume();
  }

  /** Nobody wants the rest. */
  stop(): void {
    if (this.#isOver) return;
    this.#leave();
    this.#options.body.destroy();
  }

  #leave(): void {
    this.#isOver = true;
    const { body } = this.#options;
    body.off("data", this.#onData).off("end", this.#onEnd).off("error", this.#onError).off("close", this.#onClose);
    if (!body.readableEnded) body.on("error", () => undefined); // told to nobody any more
  }

  readonly #onData = (chunk: Buffer): void => {
    const { socket, head, body } = this.#options;
    this.#bytes += chunk.length;
    if (head.bodyLength !== undefined && this.#bytes > head.bodyLength) {
      this.#fail(new Error("the body is longer than its length"), true);
      return;
    }
    if (chunk.length === 0) return; // as a chunk it would be the last
    const isChunked = head.bodyLength === undefined;
    const before = isChunked ? `${this.#before}${chunk.length.toString(16)}\r\n` : this.#before;
    this.#before = "";
    if (chunk.length <= oneWriteBytes) {
      socket.write(`${before}${chunk.toString("latin1")}${isChunked ? "\r\n" : ""}`, "latin1");
    } else {
      socket.cork();
      if (before !== "") socket.write(before, "latin1");
      socket.write(chunk);
      if (isChunked) socket.write("\r\n", "latin1");
      socket.uncork();
    }
    if (socket.writableNeedDrain) body.pause();
  };

  readonly #onEnd = (): void => {
    const { socket, head, trailers, onWritten } = this.#options;
    if (head.bodyLength !== undefined && this.#bytes !== head.bodyLength) {
      this.#fail(new Error("the body is shorter than its length"), true);
      return;
    }
    this.#leave();
    const last = head.bodyLength === undefined ? `0\r\n${toTrailerText(trailers?.() ?? [])}\r\n` : "";
    if (this.#before !== "" || last !== "") socket.write(`${this.#before}${last}`, "latin1");
    onWritten();
  };

  readonly #onError = (error: Error): void => this.#fail(error, false);

  readonly #onClose = (): void => this.#fail(new Error("the body ended before its end"), false);

  #fail(error: Error, isOurs: boolean): void {
    if (this.#isOver) return;
    this.#leave();
    this.#options.body.destroy();
    this.#options.onFailed(error, isOurs);
  }
}
