import type { StandardSchemaV1 } from "@plinth/kernel";

export function isStandard(schema: unknown): schema is StandardSchemaV1 {
  return (typeof schema === "object" || typeof schema === "function") && schema !== null && "~standard" in schema;
}

/**
 * How a Standard Schema tells its JSON Schema; undefined where it cannot. What it returns throws for what JSON Schema has nothing
 * for, except of zod, where that is `{}`.
 * @see https://standardschema.dev/json-schema
 */
export function jsonSchemaTeller(
  schema: StandardSchemaV1,
  way: "input" | "output",
): ((target: string, libraryOptions?: Record<string, unknown>) => unknown) | undefined {
  const standard: StandardSchemaV1.Props = schema["~standard"];
  const source: unknown = Reflect.get(standard, "jsonSchema");
  const teller: unknown = typeof source === "object" && source !== null ? Reflect.get(source, way) : undefined;
  if (typeof teller !== "function") return undefined;
  const { vendor } = standard;
  return (target, libraryOptions = {}) => {
    const options = vendor === "zod" ? { libraryOptions: { unrepresentable: "any", ...libraryOptions } } : {};
    return Reflect.apply(teller, source, [{ target, ...options }]) as unknown;
  };
}

/** The schemas of a body or a reply by media type, where it has several; undefined where it has one. */
export function contentOf(given: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof given !== "object" || given === null || isStandard(given) || !("content" in given)) return undefined;
  const { content } = given;
  if (typeof content !== "object" || content === null) return undefined;
  const types = Object.entries(content).map(([type, media]: [string, unknown]): [string, unknown] => [
    type,
    typeof media === "object" && media !== null && "schema" in media ? media.schema : undefined,
  ]);
  return Object.fromEntries(types);
}

/** `application/json` of `Application/JSON; charset=utf-8`. */
export function mediaTypeOf(header: unknown): string {
  return typeof header === "string" ? (header.split(";", 1)[0] ?? "").trim().toLowerCase() : "";
}
