// Writes gateway.schema.json, the JSON Schema of the gateway's document for editors and other tools.
// usage: node --conditions=plinth-source pkg/gateway/src/config/schema-file.ts
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { gatewayDocument } from "./schema.ts";

export const schemaFile = join(import.meta.dirname, "../../gateway.schema.json");

/** The document's JSON Schema, of what a user writes. A test keeps the file equal to it. */
export function gatewayJsonSchema(): object {
  const schema = z.toJSONSchema(gatewayDocument, { io: "input", target: "draft-2020-12" });
  return { ...schema, title: "Plinth gateway", description: "Routes of a Plinth API gateway, and what they share." };
}

if (import.meta.main) writeFileSync(schemaFile, `${JSON.stringify(gatewayJsonSchema(), null, 2)}\n`);
