import { type DescField, fromJson, type JsonObject, type JsonValue, type Message, toBinary } from "@bufbuild/protobuf";
import type { Binding } from "./binding.ts";
import { fieldsAt, textFormOf } from "./fields.ts";
import { writeHttpBody } from "./http-body.ts";
import { parseJson } from "./json-text.ts";
import { valueIn } from "./path-template.ts";
import { RequestFault } from "./request-fault.ts";

/** The parts of a request that a message is made of. */
export interface RestRequest {
  /** Canonical. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
  readonly body: Buffer;
  /** Undefined where it says none. */
  readonly contentType: string | undefined;
}

/**
 * The message that a request stands for, as bytes.
 * @throws {@link RequestFault} What of the request does not fit the contract, for the client.
 */
export function toMessage(binding: Binding, request: RestRequest): Uint8Array {
  if (!binding.takesBytes) return toJsonMessage(binding, request);
  const { body: data, contentType } = request;
  const rest = toJsonMessage(binding, { ...request, body: empty });
  if (data.length === 0 && contentType === undefined) return rest;
  const field = binding.body === "all" ? undefined : binding.body;
  // Fields of a message follow one another, in whatever order.
  return Buffer.concat([rest, writeHttpBody({ contentType: contentType ?? "", data }, field)]);
}

const empty = Buffer.alloc(0);

function toJsonMessage(binding: Binding, { path, query, body }: RestRequest): Uint8Array {
  const { method, limits, registry, verb, variables } = binding;
  if (body.length > 0 && binding.body === undefined) throw new RequestFault("this method takes no body");
  const at = typeof binding.body === "object" ? binding.body : method.input;
  const json = body.length === 0 ? undefined : parseJson(body, { ...limits, at, takesAnyJson: binding.takesAnyJson });
  const root = rootOf(binding, json);
  if (isObject(root)) {
    if (query.length > 1) addQuery(binding, root, query.slice(1));
    // What is in the path was matched and authorised: it counts whatever the body says.
    for (const variable of variables) put(root, variable.fields, valueIn(path, variable, verb));
  }
  const message = guarded(() => fromJson(method.input, root, { registry }));
  return guarded(() => toBinary(method.input, message));
}

/** The message as JSON, with what the body says of it. */
function rootOf({ body, variables }: Binding, json: JsonValue | undefined): JsonValue {
  if (json === undefined || body === undefined) return {};
  if (body !== "all") return { [body.jsonName]: json };
  if (!isObject(json) && variables.length > 0) throw new RequestFault("the body is no JSON object");
  return json;
}

function addQuery({ method: { input }, body, variables }: Binding, root: JsonObject, query: string): void {
  const seen = new Set<DescField>();
  for (const part of query.split("&")) {
    if (part === "") continue;
    const at = part.indexOf("=");
    const name = decode(at < 0 ? part : part.slice(0, at));
    const text = at < 0 ? "" : decode(part.slice(at + 1));
    if (body === "all")
      throw new RequestFault(`parameter ${shown(name)}: this method takes all from its path and its body`);
    const fields = fieldsAt(input, name.split("."));
    const last = typeof fields === "string" ? undefined : fields.at(-1);
    if (typeof fields === "string" || last === undefined) throw new RequestFault(`parameter ${shown(name)} is unknown`);
    if (fields[0] === body) throw new RequestFault(`parameter ${shown(name)} belongs into the body`);
    if (variables.some((variable) => startsAlike(variable.fields, fields)))
      throw new RequestFault(`parameter ${shown(name)} is in the path already`);
    if (textFormOf(last) === undefined) throw new RequestFault(`parameter ${shown(name)} is no single value`);
    if (last.fieldKind !== "list" && seen.has(last) && isSet(root, fields))
      throw new RequestFault(`parameter ${shown(name)} is given twice`);
    seen.add(last);
    put(root, fields, text);
  }
}

function startsAlike(one: readonly DescField[], other: readonly DescField[]): boolean {
  return one.length === other.length && one.every((field, at) => field === other[at]);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    throw new RequestFault("the query is not UTF-8");
  }
}

/** Sets a field to what a text stands for; of a repeated one adds it. */
function put(root: JsonObject, fields: readonly DescField[], text: string): void {
  let within = root;
  for (const [index, field] of fields.entries()) {
    const key = keyOf(within, field);
    if (index === fields.length - 1) {
      const value = toJsonValue(field, text);
      const before = field.fieldKind === "list" ? within[key] : undefined;
      within[key] = field.fieldKind === "list" ? [...(Array.isArray(before) ? before : []), value] : value;
      return;
    }
    const inner = Object.hasOwn(within, key) ? within[key] : undefined;
    const next: JsonValue = inner ?? {};
    if (!isObject(next)) throw new RequestFault(`field ${field.name} is no JSON object`);
    within[key] = next;
    within = next;
  }
}

function isSet(root: JsonObject, fields: readonly DescField[]): boolean {
  let within: JsonValue | undefined = root;
  for (const field of fields) within = isObject(within) ? within[keyOf(within, field)] : undefined;
  return within !== undefined;
}

/** JSON may have a field by either of its names, but not by both. */
function keyOf(object: JsonObject, { name, jsonName }: DescField): string {
  if (name === jsonName || !Object.hasOwn(object, name)) return jsonName;
  if (Object.hasOwn(object, jsonName)) throw new RequestFault(`field ${name} is given twice`);
  return name;
}

function toJsonValue(field: DescField, text: string): JsonValue {
  switch (textFormOf(field)) {
    case "boolean":
      if (text !== "true" && text !== "false")
        throw new RequestFault(`field ${field.name}: expected true or false, not ${shown(text)}`);
      return text === "true";
    case "number":
      // JavaScript would read `0x10` and ` 5` as well: a path would have several spellings.
      if (!/^(?:-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|NaN|-?Infinity)$/.test(text))
        throw new RequestFault(`field ${field.name}: expected a number, not ${shown(text)}`);
      return text;
    case "bytes":
      // A `+` that is not escaped has become a space, which a reader of base64 would pass over.
      if (!/^[\w+/-]*={0,2}$/.test(text))
        throw new RequestFault(`field ${field.name}: expected base64, with - or %2B for +, not ${shown(text)}`);
      return text;
    case "enum":
      return /^-?\d{1,10}$/.test(text) ? Number(text) : text;
    default:
      return text;
  }
}

/** What protobuf says against a message names the field, what it takes and what it got. */
function guarded<T extends Message | Uint8Array>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    const why = error instanceof Error ? error.message : "it does not fit";
    throw new RequestFault(why.toWellFormed().slice(0, maxWhyLength), { cause: error });
  }
}

const maxWhyLength = 300;

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
