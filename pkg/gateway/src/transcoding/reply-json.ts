import {
  create,
  type DescMessage,
  fromBinary,
  isMessage,
  type JsonValue,
  type Registry,
  toJson,
} from "@bufbuild/protobuf";
import type { Binding } from "./binding.ts";

/** A message of a reply as JSON. Throws for bytes that are none of the contract, and for what JSON has no form for. */
export function toReplyJson({ method, registry, limits, responseBody }: Binding, bytes: Uint8Array): string {
  const message: unknown = fromBinary(method.output, bytes);
  if (!isMessage(message, method.output)) throw new Error(`the reply is no ${method.output.typeName}`);
  const json = toJson(method.output, message, { registry, alwaysEmitImplicit: limits.emitDefaults });
  if (responseBody === undefined) return JSON.stringify(json);
  const { jsonName } = responseBody;
  return JSON.stringify(partOf(json, jsonName) ?? defaultOf(method.output, jsonName, registry));
}

/** What stands for a field that has its default, which JSON leaves out: null for a message that is not there. */
function defaultOf(desc: DescMessage, jsonName: string, registry: Registry): JsonValue {
  return partOf(toJson(desc, create(desc), { registry, alwaysEmitImplicit: true }), jsonName) ?? null;
}

function partOf(json: JsonValue, name: string): JsonValue | undefined {
  return typeof json === "object" && json !== null && !Array.isArray(json) ? json[name] : undefined;
}
