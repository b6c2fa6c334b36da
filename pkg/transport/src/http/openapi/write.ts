import { fastify } from "fastify";
import type { HttpRoutes } from "../server.ts";
import { type StandardTypes, useStandardSchemas } from "../standard-schema.ts";
import { openApiDocument } from "./document.ts";
import type { DocumentInfo } from "./operation.ts";
import { recordRoutes, type RouteRecord } from "./route-record.ts";

/** A document, and what is to be told of it. */
export interface WrittenDocument {
  readonly text: string;
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
}

export function writeDocument(records: readonly RouteRecord[], info: DocumentInfo): WrittenDocument {
  const { document, faults, warnings } = openApiDocument(records, info);
  return { text: `${JSON.stringify(document, undefined, 2)}\n`, faults, warnings };
}

/** Writes the document of these routes without serving them: they are added to an app that never listens. */
export async function writeDocumentOf(routes: readonly HttpRoutes[], info: DocumentInfo): Promise<WrittenDocument> {
  const app = fastify().withTypeProvider<StandardTypes>();
  app.decorateRequest("signal", { getter: () => new AbortController().signal });
  const records = recordRoutes(app);
  app.addHook("onRoute", useStandardSchemas);
  for (const addRoutes of routes) await app.register(async (scope) => addRoutes(scope));
  await app.ready();
  try {
    return writeDocument(records, info);
  } finally {
    await app.close();
  }
}
