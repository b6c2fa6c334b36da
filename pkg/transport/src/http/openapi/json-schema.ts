import { messageOf, type StandardSchemaV1 } from "@plinth/kernel";
import { isStandard, jsonSchemaTeller } from "../schema-kinds.ts";
import type { Side } from "./components.ts";
import { childOf, isJson, type Json, textOf } from "./json.ts";

/** What JSON has no type for, in zod's words. */
const unknownToJson = new Set(["bigint", "custom", "function", "map", "nan", "promise", "set", "symbol", "transform"]);

/**
 * A schema of a route as JSON Schema, draft 2020-12. What it cannot tell of itself may be anything, and is a warning.
 * @param warn - Told of each.
 */
export function toJsonSchema(schema: unknown, side: Side, warn: (text: string) => void): Json {
  if (schema === true) return {};
  if (schema === false) return { not: {} };
  if (!isStandard(schema)) return isJson(schema) ? withoutCycles(schema, warn) : {};
  const request = tell(schema, "input", side === "request" ? warn : () => {});
  if (side === "request") return request;
  const reply = tell(schema, "output", warn);
  // A schema that lets no other fields through says so of its replies. For readers that is no promise that there will never be
  // one, and what goes in and out alike shall stand there once.
  return bare(reply) === bare(request) ? request : open(reply);
}

function tell(schema: StandardSchemaV1, way: "input" | "output", warn: (text: string) => void): Json {
  const teller = jsonSchemaTeller(schema, way);
  if (teller === undefined) {
    warn(`a schema of ${schema["~standard"].vendor} cannot tell its JSON Schema`);
    return {};
  }
  try {
    const told = teller("draft-2020-12", forZod(warn));
    return isJson(told) ? told : {};
  } catch (error) {
    warn(`its schema has no JSON Schema: ${messageOf(error)}`);
    return {};
  }
}

/** A date is written as the text that JSON makes of it. */
function forZod(warn: (text: string) => void): Record<string, unknown> {
  const override = (seen: {
    readonly zodSchema: object;
    jsonSchema: Record<string, unknown>;
    path?: unknown;
  }): void => {
    const { zodSchema, jsonSchema, path } = seen;
    if (Object.keys(jsonSchema).length > 0) return;
    const type = textOf(childOf(childOf(zodSchema, "_zod"), "def"), "type") ?? "";
    if (type === "date") Object.assign(jsonSchema, { type: "string", format: "date-time" });
    else if (type === "undefined" || type === "void") jsonSchema.not = {};
    else if (unknownToJson.has(type)) warn(`${pathText(path)}JSON Schema has nothing for ${type}`);
  };
  return { override };
}

function pathText(path: unknown): string {
  const keys = Array.isArray(path) ? path.filter((key) => key !== "properties" && key !== "$defs") : [];
  return keys.length === 0 ? "" : `at ${keys.join(".")}: `;
}

/** As text, but for whether other fields may be there. */
function bare(schema: Json): string {
  return JSON.stringify(open(schema));
}

function open(schema: Json): Json {
  const text = JSON.stringify(schema, (_, value: unknown) => {
    if (!isJson(value) || value.additionalProperties !== false || !isJson(value.properties)) return value;
    const { additionalProperties: _closed, ...rest } = value;
    return rest;
  });
  const parsed: unknown = JSON.parse(text);
  return isJson(parsed) ? parsed : schema;
}

/** A hand-made schema that holds itself, not by reference, cannot be written. */
function withoutCycles(schema: Json, warn: (text: string) => void): Json {
  try {
    const parsed: unknown = JSON.parse(JSON.stringify(schema));
    return isJson(parsed) ? parsed : {};
  } catch (error) {
    warn(`its JSON Schema cannot be written: ${messageOf(error).split("\n")[0]}`);
    return {};
  }
}
