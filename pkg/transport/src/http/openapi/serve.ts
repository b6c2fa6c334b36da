import type { HttpApp } from "../server.ts";
import type { DocumentInfo } from "./operation.ts";
import type { RouteRecord } from "./route-record.ts";
import type { WrittenDocument } from "./write.ts";

export interface ServedDocumentOptions {
  /** Where it is served: a path without parameters. */
  readonly path: string;
  /** All routes, once the app is ready. */
  readonly records: readonly RouteRecord[];
  readonly info: DocumentInfo;
  /** Told of each fault and warning, once. */
  readonly warn: (text: string) => void;
}

/** Serves the OpenAPI document of the routes. It is written, and the code for that loaded, when it is first asked for. */
export function serveDocument(app: HttpApp, { path, records, info, warn }: ServedDocumentOptions): void {
  let served: Promise<{ readonly text: string; readonly etag: string }> | undefined;
  const write = async (): Promise<{ text: string; etag: string }> => {
    const [{ createHash }, { writeDocument }] = await Promise.all([import("node:crypto"), import("./write.ts")]);
    const { text, faults, warnings }: WrittenDocument = writeDocument(records, info);
    for (const each of [...faults, ...warnings]) warn(each);
    return { text, etag: `"${createHash("sha256").update(text).digest("base64url")}"` };
  };
  app.get(path, { config: { openapi: false } }, async (request, reply) => {
    served ??= write();
    try {
      const { text, etag } = await served;
      void reply.header("etag", etag).header("cache-control", "no-cache");
      if (isFresh(request.headers["if-none-match"], etag)) return await reply.code(304).send();
      return await reply.type("application/json; charset=utf-8").send(text);
    } catch (error) {
      served = undefined; // the next one tries again
      throw error;
    }
  });
}

/** @see https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2 */
function isFresh(given: string | undefined, etag: string): boolean {
  if (given === undefined) return false;
  const tags = new Set(given.split(",").map((each) => each.trim().replace(/^W\//, "")));
  return tags.has(etag) || tags.has("*");
}
