import { Readable } from "node:stream";
import type { ClientRequest } from "./client-message.ts";
import type { SlowClients, Upload } from "./slow-clients.ts";

export interface RequestBodyOptions {
  readonly request: ClientRequest;
  readonly maxBytes: number;
  /** The first byte is wanted. */
  readonly onStart: () => void;
  /** More came than `maxBytes`, or it comes too slowly. The body has ended with an error then. */
  readonly onRefused: (reason: "body_too_large" | "body_too_slow") => void;
  /** Who looks whether it comes fast enough. */
  readonly slow: Pick<SlowClients, "began" | "ended">;
  /** It may take its time but for its pauses, and for these too when this says so. Undefined: it must come fast enough. */
  readonly mayRest: (() => boolean) | undefined;
  /** In milliseconds. */
  readonly longestRestMs: number;
}

/** A body no longer than this can be sent to another instance when the first was the wrong one. */
const maxKeptBytes = 65_536;
const empty = Buffer.alloc(0);

/**
 * The body of a client's request on its way to a service: counted, with backpressure, and apart from the client's socket, so
 * that a client of the service that destroys it does the socket no harm. Untouched until it is first read.
 */
export class RequestBody extends Readable implements Upload {
  bytes = 0;
  seenBytes = 0;
  leftMs = 0;
  readonly #options: RequestBodyOptions;
  #started = false;
  /** What came so far, as long as it is little. */
  #kept: Buffer[] | undefined = [];
  #isWhole = false;
  #isPaused = false;

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

  /** It does not come, though it would be taken. */
  get isAwaited(): boolean {
    return !this.#isWhole && !this.#isPaused && !this.destroyed && this.#options.mayRest?.() !== true;
  }

  get hasRate(): boolean {
    return this.#options.mayRest === undefined;
  }

  get longestRestMs(): number {
    return this.#options.longestRestMs;
  }

  tooSlow(): void {
    this.destroy(new Error("the body comes too slowly"));
    this.#options.onRefused("body_too_slow");
  }

  /** What a try sends: the body itself, or once more what another has sent. */
  forTry(): Readable {
    const again = this.#started ? this.again : undefined;
    return again === undefined ? this : Readable.from([again]);
  }

  override _read(): void {
    const { request, onStart, slow } = this.#options;
    this.#isPaused = false;
    if (!this.#started) {
      this.#started = true;
      onStart();
      slow.began(this);
      request.on("data", this.#onData).once("end", this.#onEnd).once("close", this.#onClose);
    }
    request.resume();
  }

  /** What still comes is dropped, so that the connection can come to its end. */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const { request, slow } = this.#options;
    slow.ended(this);
    request.off("data", this.#onData).off("end", this.#onEnd).off("close", this.#onClose);
    if (this.#started) request.resume();
    done(error);
  }

  readonly #onData = (chunk: Buffer): void => {
    const { request, maxBytes, onRefused } = this.#options;
    this.bytes += chunk.length;
    if (this.bytes <= maxKeptBytes) this.#kept?.push(chunk);
    else this.#kept = undefined;
    if (this.bytes > maxBytes) {
      this.destroy(new Error("the body is larger than allowed"));
      onRefused("body_too_large");
    } else if (!this.push(chunk)) {
      this.#isPaused = true;
      request.pause();
    }
  };

  readonly #onEnd = (): void => {
    if (!this.#options.request.complete) return; // broken off: its close tells
    this.#isWhole = true;
    this.#options.slow.ended(this);
    this.push(null);
  };

  readonly #onClose = (): void => {
    if (!this.#options.request.complete) this.destroy(new Error("the client left before the end of its body"));
  };
}
