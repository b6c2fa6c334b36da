import { constants, createBrotliCompress, createGzip, createZstdCompress } from "node:zlib";
import type { Coding, CompressionRules } from "../config/schema-compression.ts";
import type { ClientResponse } from "../server/client-message.ts";

type Level = CompressionRules["level"];

const levels: Readonly<Record<Coding, Readonly<Record<Level, number>>>> = {
  gzip: { fast: 1, balanced: 5, small: 9 },
  br: { fast: 1, balanced: 4, small: 8 },
  zstd: { fast: 1, balanced: 3, small: 9 },
};
/** Of each stream: how far back it looks, as a power of two. Clients need as much to read it. */
const windowLog = 18;

/** Memory of one encoder, in units of 2 MiB, as measured: gzip has up to 0.8 MiB, `fast` 1.1, `balanced` 1.9, `small` 17.4 of br and 11 of zstd. */
export function placesOf(coding: Coding, level: Level): number {
  if (level !== "small" || coding === "gzip") return 1;
  return coding === "br" ? 9 : 6;
}

/** The part of an exchange that has to do with its reply's body. */
export interface Encoded {
  bytes: number;
  readonly response: Pick<
    ClientResponse,
    "write" | "awaitRoom" | "addTrailers" | "end" | "writableEnded" | "destroyed"
  >;
  fault(error: unknown): void;
}

export interface EncoderOptions {
  readonly coding: Coding;
  readonly level: Level;
  /** Each piece reaches the client as soon as it has come: for replies of unknown length, which may be streams. */
  readonly flushes: boolean;
  /** Goes on reading from the service. */
  readonly onRoom: () => void;
  /** Called once, when its memory is free again. */
  readonly onClosed: () => void;
}

/** Compresses the body of a reply on its way to the client, no faster than that takes it. */
export class Encoder {
  readonly #exchange: Encoded;
  readonly #stream;
  #trailers: readonly [string, string][] = [];

  constructor(exchange: Encoded, { coding, level, flushes, onRoom, onClosed }: EncoderOptions) {
    this.#exchange = exchange;
    this.#stream = streamFor(coding, levels[coding][level], flushes);
    const guarded = (act: () => void): void => {
      try {
        act();
      } catch (error) {
        exchange.fault(error);
      }
    };
    this.#stream
      .on("data", (chunk: Buffer) => guarded(() => this.#give(chunk)))
      .on("drain", () => guarded(onRoom))
      .on("end", () => guarded(() => this.#ended()))
      .on("error", (error: Error) => exchange.fault(error))
      .once("close", onClosed);
  }

  /** @returns False when no more should be given until `onRoom`. */
  write(chunk: Buffer): boolean {
    return this.#stream.write(chunk);
  }

  /** The client has taken what it was given. */
  resume(): void {
    this.#stream.resume();
  }

  end(trailers: readonly [string, string][]): void {
    this.#trailers = trailers;
    this.#stream.end();
  }

  /** Frees its memory; what it holds is lost. Safe to call twice, and after the end. */
  destroy(): void {
    this.#stream.destroy();
  }

  #give(chunk: Buffer): void {
    const { response } = this.#exchange;
    this.#exchange.bytes += chunk.length;
    if (response.write(chunk)) return;
    response.awaitRoom();
    this.#stream.pause();
  }

  #ended(): void {
    const { response } = this.#exchange;
    if (response.writableEnded || response.destroyed) return;
    if (this.#trailers.length > 0) response.addTrailers(this.#trailers);
    response.end();
  }
}

function streamFor(coding: Coding, level: number, flushes: boolean) {
  switch (coding) {
    case "gzip":
      return createGzip({ level, ...(flushes && { flush: constants.Z_SYNC_FLUSH }) });
    case "br":
      return createBrotliCompress({
        ...(flushes && { flush: constants.BROTLI_OPERATION_FLUSH }),
        params: { [constants.BROTLI_PARAM_QUALITY]: level, [constants.BROTLI_PARAM_LGWIN]: windowLog },
      });
    case "zstd":
      return createZstdCompress({
        ...(flushes && { flush: constants.ZSTD_e_flush }),
        params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_windowLog]: windowLog },
      });
  }
}
