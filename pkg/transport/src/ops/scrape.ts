import type { IncomingMessage, ServerResponse } from "node:http";
import { promisify } from "node:util";
import { constants, gzip } from "node:zlib";
import type { ExposedMetrics, MetricsExposition } from "@plinth/kernel";
import type { OpsReply } from "./handler.ts";

/** In bytes: what is smaller fits into one packet anyway. */
const leastToCompress = 1_024;

/**
 * `/metrics`: every metric of the app, in the format that the scraper likes best. It never holds up what else the process does: the text is made in slices,
 * compressed on another thread, once for all who scrape at the same time, and given up when the scraper leaves.
 */
export function createScrape(
  exposition: MetricsExposition,
): (request: IncomingMessage, response: ServerResponse) => Promise<OpsReply> {
  const compressed = new WeakMap<ExposedMetrics, Promise<Buffer>>();
  const compress = (exposed: ExposedMetrics, bytes: Buffer): Promise<Buffer> => {
    const known = compressed.get(exposed) ?? gzipAsync(bytes, { level: constants.Z_BEST_SPEED });
    compressed.set(exposed, known);
    return known;
  };
  return async (request, response) => {
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    const { accept, "accept-encoding": encodings } = request.headers;
    const exposed = await exposition.expose({ accept, signal: gone.signal });
    const { contentType, bytes = Buffer.from(exposed.body) } = exposed;
    const headers = { "content-type": contentType, vary: "accept, accept-encoding" };
    if (bytes.length < leastToCompress || !takesGzip(encodings)) return { status: 200, headers, body: bytes };
    return { status: 200, headers: { ...headers, "content-encoding": "gzip" }, body: await compress(exposed, bytes) };
  };
}

const gzipAsync = promisify(gzip);

/** @param encodings - The `Accept-Encoding` header. */
function takesGzip(encodings: string | undefined): boolean {
  const given = new Map(
    (encodings ?? "").split(",").map((part) => {
      const [coding = "", ...parameters] = part.split(";").map((text) => text.trim().toLowerCase());
      const quality = parameters.find((parameter) => parameter.startsWith("q="))?.slice(2) ?? "1";
      return [coding, Number(quality) > 0];
    }),
  );
  return given.get("gzip") ?? given.get("*") ?? false;
}
