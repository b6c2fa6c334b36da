import type { Fetch } from "../http/client-metrics.ts";

export const maxKeySetBytes = 512 * 1024;

/**
 * Fetches the text of a key set: no redirects, a time limit, a size limit.
 * @throws Error with what went wrong; the signal's reason.
 */
export async function fetchKeySet(
  url: string,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal; readonly fetch?: Fetch },
): Promise<string> {
  const limit = AbortSignal.timeout(options.timeoutMs);
  const send = options.fetch ?? fetch;
  const response = await send(url, {
    redirect: "error",
    headers: { accept: "application/jwk-set+json, application/json" },
    signal: options.signal ? AbortSignal.any([options.signal, limit]) : limit,
  });
  if (response.status !== 200 || response.body === null) {
    await response.body?.cancel();
    throw new Error(`the answer has status ${response.status}`);
  }
  const body: AsyncIterable<Uint8Array> = response.body;
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.byteLength;
    if (bytes > maxKeySetBytes) throw new Error(`the answer is larger than ${maxKeySetBytes} bytes`);
    chunks.push(chunk);
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
}
