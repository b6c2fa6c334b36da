import { Components, keyOf } from "./components.ts";
import { childOf, isJson, type Json, sorted, textOf } from "./json.ts";
import { bearerName, type DocumentInfo, labelOf, type Operation, writeOperation } from "./operation.ts";
import { type PathTemplate, pathTemplates } from "./path.ts";
import { problemName, problemReply, problemSchema } from "./problem-schema.ts";
import type { RouteRecord } from "./route-record.ts";
import { SchemaWriter } from "./schemas.ts";

export interface OpenApiDocument {
  readonly document: Json;
  /** What the routes say twice or in contradiction; the document is valid all the same. */
  readonly faults: readonly string[];
  /** What they say that a document cannot. */
  readonly warnings: readonly string[];
}

const bearer: Json = { type: "http", scheme: "bearer", description: "Says who asks." };

/** In the order of the specification. */
const methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/**
 * Writes the OpenAPI document of these routes. The same routes give the same document, in whichever order they were added.
 * @see https://spec.openapis.org/oas/v3.1.1.html
 */
export function openApiDocument(records: readonly RouteRecord[], info: DocumentInfo): OpenApiDocument {
  const components = new Components();
  const problemKey = keyOf(problemName);
  components.add(problemKey, { name: problemName, side: "reply", where: "Plinth's errors", content: problemSchema });
  const writer = new SchemaWriter(components);
  const operations = operationsOf(records, writer);
  const paths = new Map<string, Map<string, Json>>();
  for (const operation of operations) {
    const template = templateOf(operation);
    const item = paths.get(template) ?? new Map<string, Json>();
    paths.set(template, item);
    item.set(operation.method, writeOperation(operation, writer, info));
  }
  const ids = operationIds(operations);
  for (const operation of operations) {
    const item = paths.get(templateOf(operation));
    const id = ids.of.get(operation);
    const written = item?.get(operation.method);
    if (item && written) item.set(operation.method, id === undefined ? written : { operationId: id, ...written });
  }
  const items = [...paths].map(([template, item]) => [template, inOrder(item)] as const);
  const { document, schemas } = components.finish({ paths: sorted(items) });
  const tags = [...new Set(operations.flatMap(({ record }) => tagsOf(record)))].toSorted();
  const isSecured = items.some(([, item]) => Object.values(item).some((each) => isJson(each) && "security" in each));
  return {
    document: {
      openapi: "3.1.1",
      info: { title: info.title, version: info.version },
      ...(tags.length > 0 ? { tags: tags.map((name) => ({ name })) } : {}),
      ...document,
      components: {
        schemas,
        responses: { [problemName]: problemReply },
        ...(isSecured ? { securitySchemes: { [bearerName]: bearer } } : {}),
      },
    },
    faults: [...ids.faults, ...components.faults].toSorted(),
    warnings: [...writer.warnings].toSorted(),
  };
}

/** What of the routes can stand in a document: one operation for each path and method. */
function operationsOf(records: readonly RouteRecord[], writer: SchemaWriter): readonly Operation[] {
  const told = records.filter(
    ({ config }) => Reflect.get(config, "openapi") !== false && Reflect.get(config, "origin") !== "rpc",
  );
  const gets = new Set(told.filter((record) => record.methods.includes("GET")).map(({ url }) => url));
  const found = told.flatMap((record) =>
    record.methods
      .filter((method) => method !== "HEAD" || !gets.has(record.url)) // who reads a document knows that a GET has a HEAD
      .flatMap((method) => pathTemplates(record.url).map((path) => ({ record, method: method.toLowerCase(), path }))),
  );
  const names = new Map<string, readonly string[]>();
  const kept = new Map<string, Operation>();
  for (const { record, method, path } of found.toSorted(byPlace)) {
    const where = { where: `${method.toUpperCase()} ${record.url}` };
    if (!methods.includes(method)) {
      writer.warn(where, "OpenAPI has no such method; it is left out");
      continue;
    }
    const own = namesOf(path);
    names.set(path.key, names.get(path.key) ?? own);
    const place = `${method} ${path.key}`;
    const first = kept.get(place);
    if (first) writer.warn(where, `OpenAPI takes it for the same as ${labelOf(first)}; it is left out`);
    else kept.set(place, { record, method, path, names: names.get(path.key) ?? own });
  }
  return [...kept.values()];
}

type Found = Pick<Operation, "record" | "method" | "path">;

/** The plainest first: what is for every host and version, and takes every segment. */
function byPlace(a: Found, b: Found): number {
  const weight = ({ record, path }: Found): number =>
    Object.keys(record.constraints).length * 1_000 + path.parameters.filter(({ pattern }) => pattern).length;
  const key = ({ record: { url, constraints }, method }: Found): string =>
    `${url} ${method} ${JSON.stringify(constraints)}`;
  return weight(a) - weight(b) || (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
}

function namesOf({ template }: PathTemplate): readonly string[] {
  return [...template.matchAll(/\{([^}]*)\}/g)].map(([, name = ""]) => name);
}

/** Its path, with the names that the document has for its parameters. */
function templateOf({ path, names }: Operation): string {
  let index = 0;
  return path.template.replaceAll(/\{[^}]*\}/g, () => `{${names[index++] ?? ""}}`);
}

function inOrder(item: ReadonlyMap<string, Json>): Json {
  return Object.fromEntries(methods.flatMap((method) => (item.has(method) ? [[method, item.get(method)]] : [])));
}

function tagsOf({ config }: RouteRecord): readonly string[] {
  const tags = childOf(config, "openapi")?.tags;
  return Array.isArray(tags) ? tags.map(String) : [];
}

/** Each operation's id: its own, or one made of method and path; none where that is taken. */
function operationIds(operations: readonly Operation[]): {
  readonly of: ReadonlyMap<Operation, string>;
  readonly faults: readonly string[];
} {
  const of = new Map<Operation, string>();
  const owners = new Map<string, Operation>();
  const faults: string[] = [];
  for (const operation of operations) {
    const id = textOf(childOf(operation.record.config, "openapi"), "operationId");
    if (id === undefined) continue;
    const owner = owners.get(id);
    if (owner)
      faults.push(`${labelOf(owner)} and ${labelOf(operation)} have the operationId ${id}; give each one of its own`);
    else {
      owners.set(id, operation);
      of.set(operation, id);
    }
  }
  for (const operation of operations) {
    if (of.has(operation)) continue;
    const id = madeId(operation);
    if (owners.has(id)) continue;
    owners.set(id, operation);
    of.set(operation, id);
  }
  return { of, faults };
}

/** `getNotesId` */
function madeId(operation: Operation): string {
  const words = templateOf(operation).match(/[A-Za-z0-9]+/g) ?? [];
  return operation.method + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
}
