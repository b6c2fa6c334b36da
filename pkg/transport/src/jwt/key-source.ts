import { type Clock, watchFiles } from "@plinth/kernel";
import { open } from "node:fs/promises";
import type { Fetch } from "../http/client-metrics.ts";
import { fetchKeySet, maxKeySetBytes } from "./fetch-key-set.ts";
import type { TokenProvider } from "./provider.ts";

const fetchTimeoutMs = 5_000;

/** Where the text of a key set comes from. */
export interface KeySource {
  readonly kind: "url" | "file" | "inline";
  /** For logs. */
  readonly place: string;
  readonly read: (options: { readonly signal: AbortSignal }) => Promise<string>;
  /** Tells of changes; absent where nobody tells of them. */
  readonly watch?: (onChange: () => void, options: { readonly signal: AbortSignal }) => void;
}

export function keySourceOf(
  jwks: TokenProvider["jwks"],
  { clock, send }: { readonly clock: Clock; readonly send: Fetch },
): KeySource {
  if (typeof jwks === "string") {
    const read: KeySource["read"] = ({ signal }) =>
      fetchKeySet(jwks, { timeoutMs: fetchTimeoutMs, signal, fetch: send });
    return { kind: "url", place: jwks, read };
  }
  const { file, keys } = jwks;
  if (file === undefined) return { kind: "inline", place: "inline", read: async () => JSON.stringify({ keys }) };
  return {
    kind: "file",
    place: file,
    read: () => readSmallFile(file),
    watch: (onChange, { signal }) => watchFiles([file], { clock, onChange, signal }),
  };
}

/**
 * The text of a file that is no larger than a key set may be: read to that size and no further.
 * @throws Error when it is larger, or cannot be read.
 */
export async function readSmallFile(file: string, maxBytes = maxKeySetBytes): Promise<string> {
  await using handle = await open(file, "r");
  const bytes = Buffer.alloc(maxBytes + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await handle.read(bytes, length, bytes.length - length);
    length += bytesRead;
    if (length > maxBytes) throw new Error(`the file is larger than ${maxBytes} bytes`);
    if (bytesRead === 0) break;
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length));
}
