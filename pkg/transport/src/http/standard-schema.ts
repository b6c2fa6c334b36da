import type { FastifySchemaCompiler, FastifyTypeProvider, onRouteHookHandler } from "fastify";
import type { StandardSchemaV1 } from "@plinth/kernel";
import { type FieldFault, RequestError } from "../errors.ts";

/** Lets fastify infer the types of params, query, headers, body and replies from any Standard Schema. */
export interface StandardTypes extends FastifyTypeProvider {
  readonly validator: this["schema"] extends StandardSchemaV1 ? StandardSchemaV1.InferOutput<this["schema"]> : unknown;
  readonly serializer: this["schema"] extends StandardSchemaV1 ? StandardSchemaV1.InferInput<this["schema"]> : unknown;
}

const prefixes: Readonly<Record<string, string>> = {
  body: "",
  querystring: "/query",
  params: "/params",
  headers: "/headers",
};

const validatorCompiler: FastifySchemaCompiler<unknown> = ({ schema, httpPart = "body" }) => {
  if (!isStandardSchema(schema))
    throw new TypeError(
      `the ${httpPart} schema is not a Standard Schema while others of the route are; use one kind for a route`,
    );
  const prefix = prefixes[httpPart] ?? `/${httpPart}`;
  return (data: unknown) => {
    const result = schema["~standard"].validate(data);
    if (result instanceof Promise)
      throw new TypeError(`the ${httpPart} schema validates asynchronously; do that in the handler`);
    return result.issues
      ? { error: new RequestError(result.issues.flatMap((issue) => toFaults(issue, prefix))) }
      : { value: result.value };
  };
};

/** Routes whose schemas are Standard Schemas are validated by them; their reply schemas become JSON Schema for the fast serializer. */
export const useStandardSchemas: onRouteHookHandler = (route) => {
  const { schema } = route;
  if (!schema) return;
  const parts = [schema.body, schema.querystring, schema.params, schema.headers];
  if (parts.some(isStandardSchema)) route.validatorCompiler ??= validatorCompiler;
  if (typeof schema.response === "object" && schema.response !== null) {
    schema.response = Object.fromEntries(
      Object.entries(schema.response).map(([status, reply]) => [status, toReplySchema(reply)]),
    );
  }
};

function isStandardSchema(schema: unknown): schema is StandardSchemaV1 {
  return typeof schema === "object" && schema !== null && "~standard" in schema;
}

function toReplySchema(schema: unknown): unknown {
  if (!isStandardSchema(schema)) return schema;
  return "jsonSchema" in schema["~standard"] ? toJsonSchema(schema["~standard"].jsonSchema) : {};
}

function toJsonSchema(source: unknown): unknown {
  if (typeof source !== "object" || source === null || !("output" in source) || typeof source.output !== "function")
    return {};
  const schema: unknown = source.output({ target: "draft-07" });
  return schema;
}

function toFaults(issue: StandardSchemaV1.Issue & { readonly keys?: unknown }, prefix: string): FieldFault[] {
  const path = (issue.path ?? []).map((part) =>
    String(typeof part === "object" ? part.key : part)
      .replaceAll("~", "~0")
      .replaceAll("/", "~1"),
  );
  const pointer = [prefix, ...path].join("/");
  if (Array.isArray(issue.keys))
    return issue.keys.map((key) => ({ pointer: `${pointer}/${String(key)}`, detail: "is not a known field" }));
  return [{ pointer, detail: issue.message.replace(/^Invalid input: /, "") }];
}
