import type { Transform } from "node:stream";
import { promisify } from "node:util";
import zlib from "node:zlib";

/** Codings of bodies, the one that costs least for what it saves first. */
export const codings = ["br", "zstd", "gzip"] as const;

export type Coding = (typeof codings)[number];

const { constants } = zlib;

/** Levels for replies that are made once: higher ones cost several times as much for a few percent. */
const brotli = { params: { [constants.BROTLI_PARAM_QUALITY]: 4 } };

const brotliCompress = promisify<Uint8Array, zlib.BrotliOptions, Buffer>(zlib.brotliCompress);
const zstdCompress = promisify<Uint8Array, zlib.ZstdOptions, Buffer>(zlib.zstdCompress);
const gzip = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.gzip);

/** Compresses off the event loop. */
export function compressBytes(coding: Coding, bytes: Uint8Array): Promise<Buffer> {
  if (coding === "br") {
    const size = { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.byteLength };
    return brotliCompress(bytes, { params: { ...brotli.params, ...size } });
  }
  return coding === "zstd" ? zstdCompress(bytes, {}) : gzip(bytes, {});
}

/** Compresses what comes, each piece so that its reader has it at once. */
export function compressStream(coding: Coding): Transform {
  if (coding === "br") return zlib.createBrotliCompress({ ...brotli, flush: constants.BROTLI_OPERATION_FLUSH });
  if (coding === "zstd") return zlib.createZstdCompress({ flush: constants.ZSTD_e_flush });
  return zlib.createGzip({ flush: constants.Z_SYNC_FLUSH });
}

export function inflateStream(coding: Coding): Transform {
  if (coding === "br") return zlib.createBrotliDecompress();
  return coding === "zstd" ? zlib.createZstdDecompress() : zlib.createGunzip();
}

/** More than this of a header is not looked at: nobody knows so many codings. */
const maxItems = 32;

/**
 * The coding that a caller likes best; of those that it likes alike, the first of {@link codings}.
 * @param accepted - The accept-encoding header.
 * @returns undefined where it takes the body as it is, likes that better, or has said nothing.
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
 */
export function negotiate(accepted: string | undefined): Coding | undefined {
  if (accepted === undefined || accepted === "") return undefined;
  const weights = new Map<string, number>();
  for (const item of accepted.split(",", maxItems)) {
    const [name = "", ...parameters] = item.split(";");
    weights.set(name.trim().toLowerCase(), weightOf(parameters));
  }
  const others = weights.get("*") ?? 0;
  let best: Coding | undefined;
  let most = Math.max(weights.get("identity") ?? 0, Number.MIN_VALUE);
  for (const coding of codings) {
    const weight = weights.get(coding) ?? (coding === "gzip" ? weights.get("x-gzip") : undefined) ?? others;
    if (weight < most || (weight === most && best !== undefined)) continue;
    best = coding;
    most = weight;
  }
  return best;
}

/** 1 unless said otherwise; what cannot be read is 0, for it was meant as less. */
function weightOf(parameters: readonly string[]): number {
  for (const parameter of parameters) {
    const [name = "", value = ""] = parameter.split("=");
    if (name.trim().toLowerCase() !== "q") continue;
    const text = value.trim();
    return /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(text) ? Number(text) : 0;
  }
  return 1;
}
