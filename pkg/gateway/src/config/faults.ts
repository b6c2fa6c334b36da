import { type ConfigFault, didYouMean } from "@plinth/kernel";
import { z } from "zod";

/** Where the parts of a document stand: dotted path → `gateway.yaml:12`. */
export interface Places {
  readonly name: string;
  readonly places: ReadonlyMap<string, string>;
}

/** A fault at a path into the document, with the line of it or of the nearest thing above it. */
export function faultAt(path: readonly PropertyKey[], problem: string, { name, places }: Places): ConfigFault {
  const parts = path.map(String);
  let source = name;
  for (let length = parts.length; length >= 0; length--) {
    const place = places.get(parts.slice(0, length).join("."));
    if (place === undefined) continue;
    source = place;
    break;
  }
  return { key: parts.join(".") || name, problem, source };
}

/** Everything that a schema has to say against a document, unknown keys with the nearest known one. */
export function schemaFaults(error: z.ZodError, document: unknown, schema: z.ZodType, places: Places): ConfigFault[] {
  const json = z.toJSONSchema(schema, { io: "input" });
  return error.issues.flatMap((issue) => issueFaults(issue, [], document, json, places));
}

type Issue = z.core.$ZodIssue;

function issueFaults(
  issue: Issue,
  above: readonly PropertyKey[],
  document: unknown,
  schema: unknown,
  places: Places,
): ConfigFault[] {
  const path = [...above, ...issue.path];
  if (issue.code === "unrecognized_keys") {
    const siblings = keysAt(schema, path);
    return issue.keys.map((key) => faultAt([...path, key], `unknown key${didYouMean(key, siblings)}`, places));
  }
  if (issue.code === "invalid_key") {
    return issue.issues.map(({ message }) => faultAt(path, `the name is not allowed: ${message}`, places));
  }
  if (issue.code === "invalid_union") {
    // The branch that is meant is the one whose type the value has; its own faults say more than "invalid input".
    const meant = issue.errors.find(
      (errors) => !errors.some(({ code, path: at }) => code === "invalid_type" && at.length === 0),
    );
    if (meant) return meant.flatMap((inner) => issueFaults(inner, path, document, schema, places));
    const expected = issue.errors.flatMap((errors) =>
      errors.flatMap((inner) => (inner.code === "invalid_type" ? [inner.expected] : [])),
    );
    return [faultAt(path, `expected ${expected.join(" or ")}, got ${shown(document, path)}`, places)];
  }
  return [
    faultAt(
      path,
      `${issue.message.replace(/^Invalid input: /, "").replace(/, received .*$/, "")}, got ${shown(document, path)}`,
      places,
    ),
  ];
}

function shown(document: unknown, path: readonly PropertyKey[]): string {
  let value = document;
  for (const part of path) value = typeof value === "object" && value !== null ? Reflect.get(value, part) : undefined;
  return JSON.stringify(value)?.slice(0, 100) ?? "nothing";
}

/** The keys that the schema knows at a path, through arrays, records and alternatives. */
function keysAt(schema: unknown, path: readonly PropertyKey[]): string[] {
  if (!isRecord(schema)) return [];
  if (Array.isArray(schema.anyOf)) return schema.anyOf.flatMap((option) => keysAt(option, path));
  const [first, ...rest] = path;
  if (first === undefined) return isRecord(schema.properties) ? Object.keys(schema.properties) : [];
  if (isRecord(schema.properties) && Object.hasOwn(schema.properties, first)) {
    return keysAt(schema.properties[String(first)], rest);
  }
  return keysAt(schema.items ?? schema.additionalProperties, rest);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
