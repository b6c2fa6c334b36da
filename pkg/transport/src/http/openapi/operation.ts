import { STATUS_CODES } from "../../node-http.ts";
import { contentOf } from "../schema-kinds.ts";
import { childOf, type Json, sorted, textOf } from "./json.ts";
import { type PathParameter, type PathTemplate, restName } from "./path.ts";
import { problemReplyRef } from "./problem-schema.ts";
import type { RouteRecord } from "./route-record.ts";
import type { Field, SchemaPlace, SchemaWriter } from "./schemas.ts";

/** What the document says of the service as a whole. */
export interface DocumentInfo {
  readonly title: string;
  readonly version: string;
  /**
   * Whether routes that say nothing of it ask who calls; `off` where none does, whatever it says, as without an authenticator.
   * Default `off`.
   */
  readonly auth?: "required" | "optional" | "none" | "off" | undefined;
}

/** A route with one method at its place in the document. */
export interface Operation {
  readonly record: RouteRecord;
  /** In lower case, as OpenAPI has it. */
  readonly method: string;
  readonly path: PathTemplate;
  /** What its parameters are called in the document, in the order of the path. */
  readonly names: readonly string[];
}

/** Headers that OpenAPI tells elsewhere: it passes parameters of these names over. */
const reservedHeaders = new Set(["accept", "authorization", "content-type"]);
/** What the document calls the one way to say who asks. */
export const bearerName = "bearer";
const jsonType = "application/json";

/** What the document says of one operation. Its `operationId` is given by the document, which knows all of them. */
export function writeOperation(operation: Operation, writer: SchemaWriter, info: DocumentInfo): Json {
  const { record } = operation;
  const security = securityOf(record.config, info);
  const told = childOf(record.config, "openapi") ?? {};
  const tags = Array.isArray(told.tags) ? told.tags : [];
  const parameters = writeParameters(operation, writer);
  const body = writeBody(operation, writer);
  return {
    ...(tags.length > 0 ? { tags } : {}),
    ...(textOf(told, "summary") === undefined ? {} : { summary: told.summary }),
    ...(textOf(told, "description") === undefined ? {} : { description: told.description }),
    ...(told.deprecated === true ? { deprecated: true } : {}),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body ? { requestBody: body } : {}),
    responses: writeReplies(operation, writer, security),
    ...security,
  };
}

export function labelOf({ method, record: { url } }: Operation): string {
  return `${method.toUpperCase()} ${url}`;
}

function placeOf(operation: Operation, part: string, side: SchemaPlace["side"]): SchemaPlace {
  return { side, where: `${labelOf(operation)}, ${part}`, shared: operation.record.shared() };
}

function writeParameters(operation: Operation, writer: SchemaWriter): readonly Json[] {
  const { schema } = operation.record;
  const query = fieldsOf(operation, writer, "querystring", "query") ?? fieldsOf(operation, writer, "query", "query");
  const headers = fieldsOf(operation, writer, "headers", "headers") ?? [];
  const named = (place: string, fields: readonly Field[]): Json[] =>
    fields
      .map(({ name, isRequired, schema }) => toParameter(name, place, isRequired, schema))
      .toSorted((a, b) => (String(a.name) < String(b.name) ? -1 : 1));
  return [
    ...pathParameters(operation, writer, "params" in schema),
    ...named("query", query ?? []),
    ...named(
      "header",
      headers.filter(({ name }) => !reservedHeaders.has(name.toLowerCase())),
    ),
  ];
}

function pathParameters(operation: Operation, writer: SchemaWriter, isTyped: boolean): readonly Json[] {
  const { path, names } = operation;
  const fields = (isTyped ? fieldsOf(operation, writer, "params", "params") : undefined) ?? [];
  const known = new Set(path.parameters.map(({ name }) => name));
  const strangers = fields.filter(({ name }) => !known.has(name)).map(({ name }) => name);
  if (strangers.length > 0) {
    writer.warn(placeOf(operation, "params", "request"), `${strangers.join(", ")} is not in its path`);
  }
  const written = new Map<string, Json>();
  for (const [index, parameter] of path.parameters.entries()) {
    const name = names[index] ?? parameter.name;
    const field = fields.find((each) => each.name === parameter.name);
    const rest =
      name === restName && parameter.name === "*" ? { description: "The rest of the path, slashes included." } : {};
    written.set(name, { ...rest, ...toParameter(name, "path", true, field?.schema ?? textSchema(parameter)) });
  }
  return [...written.values()];
}

function textSchema({ pattern }: PathParameter): Json {
  return { type: "string", ...(pattern === undefined ? {} : { pattern }) };
}

/** A description, and that it is going away, are said of the parameter. */
function toParameter(name: string, place: string, required: boolean, schema: Json): Json {
  const { description, deprecated, ...rest } = schema;
  return {
    name,
    in: place,
    ...(typeof description === "string" ? { description } : {}),
    ...(required ? { required } : {}),
    ...(deprecated === true ? { deprecated } : {}),
    schema: rest,
  };
}

function fieldsOf(operation: Operation, writer: SchemaWriter, key: string, part: string): readonly Field[] | undefined {
  const given: unknown = Reflect.get(operation.record.schema, key);
  if (given === undefined || given === null) return undefined;
  const place = placeOf(operation, part, "request");
  const fields = writer.fields(given, place);
  if (fields === undefined) writer.warn(place, "its fields cannot be told; the document has no parameters of it");
  return fields;
}

function writeBody(operation: Operation, writer: SchemaWriter): Json | undefined {
  const body: unknown = Reflect.get(operation.record.schema, "body");
  if (body === undefined || body === null) return undefined;
  const place = placeOf(operation, "body", "request");
  const content = contentOf(body) ?? { [jsonType]: body };
  const types = Object.entries(content).map(([type, schema]): [string, Json] => [
    type,
    { schema: writer.write(schema, place) },
  ]);
  return { required: true, content: sorted(types) };
}

function writeReplies(operation: Operation, writer: SchemaWriter, security: Json): Json {
  const { schema } = operation.record;
  const given = Object.entries(childOf(schema, "response") ?? {});
  const replies = given.map(([status, reply]): [string, Json] => [
    statusKey(status),
    writeReply(status, reply, placeOf(operation, `reply ${status}`, "reply"), writer),
  ]);
  const has = (part: string): boolean => Reflect.get(schema, part) !== undefined;
  const refusals = [
    ...(["params", "querystring", "query", "headers", "body"].some(has) ? ["400"] : []),
    ...("security" in security ? ["401", "403"] : []),
  ];
  const success = replies.some(([status]) => /^[23]|^default$/.test(status));
  return sorted([
    ...(success ? [] : [["2XX", { description: "Success." }] as const]),
    ...refusals.map((status) => [status, problemReplyRef] as const),
    ["default", problemReplyRef] as const,
    ...replies,
  ]);
}

function statusKey(status: string): string {
  return /^[1-5]xx$/i.test(status) ? status.toUpperCase() : status;
}

function writeReply(status: string, reply: unknown, place: SchemaPlace, writer: SchemaWriter): Json {
  const content = contentOf(reply);
  const own = textOf(reply, "description");
  if (content === undefined && /^(1\d\d|204|205|304)$/.test(status)) {
    return { description: own ?? STATUS_CODES[status] ?? "No content." };
  }
  const types = Object.entries(content ?? { [jsonType]: reply }).map(([type, schema]): [string, Json] => [
    type,
    { schema: writer.write(schema, place) },
  ]);
  const [[, first] = []] = types;
  const told = content ? own : (textOf(childOf(first, "schema"), "description") ?? own);
  return { description: told ?? STATUS_CODES[status] ?? defaultDescription(status), content: sorted(types) };
}

function defaultDescription(status: string): string {
  return /^2xx$/i.test(status) ? "Success." : status === "default" ? "Any other reply." : "A reply.";
}

/** What a route asks of its callers, if it asks who they are; `{}` where it does not. */
function securityOf(config: object, { auth = "off" }: DocumentInfo): Json {
  const scopes: unknown = Reflect.get(config, "scopes");
  const needed = Array.isArray(scopes) ? scopes.map(String) : [];
  const own: unknown = Reflect.get(config, "auth");
  const mode = needed.length > 0 ? "required" : (own ?? auth);
  if (auth === "off" || mode === "none") return {};
  return { security: [{ [bearerName]: needed }, ...(mode === "optional" ? [{}] : [])] };
}
