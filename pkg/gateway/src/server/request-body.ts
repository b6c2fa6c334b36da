import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";

export interface RequestBodyOptions {
  readonly request: IncomingMessage;
  readonly maxBytes: number;
  /** The first byte is wanted. */
  readonly onStart: () => void;
  /** More came than `maxBytes`. The body has ended with an error then. */
  readonly onTooLarge: () => void;
}

/** A body no longer than this can be sent to another instance when the first was the wrong one. */
const maxKeptBytes = 65_536;
const empty = Buffer.alloc(0);

/**
 * The body of a client's request on its way to a service: counted, with backpressure, and apart from the client's socket, so
 * that a client of the service that destroys it does the socket no harm. Untouched until it is first read.
 */
export class RequestBody extends Readable {
  readonly #options: RequestBodyOptions;
  #bytes = 0;
  #started = false;
  /** What came so far, as long as it is little. */
  #kept: Buffer[] | undefined = [];
  #isWhole = false;

  constructor(options: RequestBodyOptions) {
    super({ highWaterMark: 65_536 });
    this.#options = options;
    this.on("error", () => undefined); // whoever failed it has told the exchange
  }

  /** Whether any of it may have been taken. */
  get started(): boolean {
    return this.#started;
  }

  /** All of it, to be sent once more; undefined when it is too long for that, or has not come whole. */
  get again(): Buffer | undefined {
    if (!this.#started) return this.destroyed ? undefined : empty;
    return this.#isWhole && this.#kept ? Buffer.concat(this.#kept) : undefined;
  }

  /** What a try sends: the body itself, or once more what another has sent. */
  forTry(): Readable {
    const again = this.#started ? this.again : undefined;
    return again === undefined ? this : Readable.from([again]);
  }

  override _read(): void {
    const { request, onStart } = this.#options;
    if (!this.#started) {
      this.#started = true;
      onStart();
      request.on("data", this.#onData).once("end", this.#onEnd).once("close", this.#onClose);
    }
    request.resume();
  }

  /** What still comes is dropped, so that the connection can come to its end. */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const { request } = this.#options;
    request.off("data", this.#onData).off("end", this.#onEnd).off("close", this.#onClose);
    if (this.#started) request.resume();
    done(error);
  }

  readonly #onData = (chunk: Buffer): void => {
    const { request, maxBytes, onTooLarge } = this.#options;
    this.#bytes += chunk.length;
    if (this.#bytes <= maxKeptBytes) this.#kept?.push(chunk);
    else this.#kept = undefined;
    if (this.#bytes > maxBytes) {
      this.destroy(new Error("the body is larger than allowed"));
      onTooLarge();
    } else if (!this.push(chunk)) request.pause();
  };

  readonly #onEnd = (): void => {
    this.#isWhole = true;
    this.push(null);
  };

  readonly #onClose = (): void => {
    if (!this.#options.request.complete) this.destroy(new Error("the client left before the end of its body"));
  };
}
