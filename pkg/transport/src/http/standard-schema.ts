import type { FastifyTypeProvider, onRouteHookHandler, preValidationHookHandler } from "fastify";
import type { StandardSchemaV1 } from "@plinth/kernel";
import { type FieldFault, RequestError, toPointer } from "../errors.ts";

/** Lets fastify infer the types of params, query, headers, body and replies from any Standard Schema. */
export interface StandardTypes extends FastifyTypeProvider {
  readonly validator: this["schema"] extends StandardSchemaV1 ? StandardSchemaV1.InferOutput<this["schema"]> : unknown;
  readonly serializer: this["schema"] extends StandardSchemaV1 ? StandardSchemaV1.InferInput<this["schema"]> : unknown;
}

/** A part of the request that a route gives a schema for. */
interface Part {
  readonly field: "params" | "query" | "headers" | "body";
  /** Where the part's faults point to. */
  readonly prefix: string;
  readonly schema: StandardSchemaV1;
}

type Route = Parameters<onRouteHookHandler>[0];

/**
 * Routes whose schemas are Standard Schemas are validated by them, all parts at once, and a request that does not fit
 * is told every fault. Their reply schemas become JSON Schema for the fast serializer.
 * @throws TypeError, at the registration of the route, when it mixes Standard Schemas with others.
 */
export const useStandardSchemas: onRouteHookHandler = (route) => {
  const { schema } = route;
  if (!schema) return;
  const parts = partsOf(route);
  if (parts.length > 0 && route.validatorCompiler === undefined) {
    route.validatorCompiler = () => () => true; // fastify would stop at the first part that does not fit
    const before = route.preValidation ?? [];
    route.preValidation = [...(Array.isArray(before) ? before : [before]), validate(parts, route.attachValidation)];
  }
  if (typeof schema.response !== "object" || schema.response === null) return;
  const replies = Object.entries(schema.response).map(([status, reply]) => [status, toReplySchema(reply)]);
  route.schema = { ...schema, response: Object.fromEntries(replies) };
};

function partsOf({ url, schema = {} }: Route): readonly Part[] {
  const given = [
    { field: "params", prefix: "/params", schema: schema.params },
    { field: "query", prefix: "/query", schema: schema.querystring ?? aliasOf(schema) },
    { field: "headers", prefix: "/headers", schema: schema.headers },
    { field: "body", prefix: "", schema: schema.body },
  ] as const;
  const present = given.filter((part) => part.schema !== undefined);
  const parts = present.filter((part): part is typeof part & { schema: StandardSchemaV1 } => isStandard(part.schema));
  if (parts.length > 0 && parts.length < present.length) {
    const others = present.filter((part) => !isStandard(part.schema)).map(({ field }) => field);
    throw new TypeError(
      `route ${url}: the schema of ${others.join(" and ")} is not a Standard Schema while that of ${parts.map(({ field }) => field).join(" and ")} is; use one kind for a route`,
    );
  }
  return parts;
}

/** fastify also takes `query` for `querystring`. */
function aliasOf(schema: object): unknown {
  return "query" in schema ? schema.query : undefined;
}

function isSettled<T extends object>(result: T | Promise<T>): result is T {
  return !(result instanceof Promise);
}

function validate(parts: readonly Part[], attach = false): preValidationHookHandler {
  return (request, _reply, done) => {
    /** Puts the values in place, or tells every fault. */
    const settle = (results: readonly StandardSchemaV1.Result<unknown>[]): Error | undefined => {
      const faults = results.flatMap(({ issues = [] }, index) =>
        issues.flatMap((issue) => toFaults(issue, parts[index]?.prefix ?? "")),
      );
      if (faults.length > 0) {
        const error = new RequestError(faults);
        return attach && Reflect.set(request, "validationError", error) ? undefined : error;
      }
      for (const [index, { field }] of parts.entries()) {
        const result = results[index];
        if (result && "value" in result) Reflect.set(request, field, result.value);
      }
      return undefined;
    };
    const results = parts.map(({ field, schema }) => schema["~standard"].validate(Reflect.get(request, field)));
    const present = results.filter(isSettled);
    if (present.length === results.length) done(settle(present));
    else
      Promise.all(results.map(async (result) => result))
        .then(settle)
        .then(done, (error: unknown) => done(toError(error)));
  };
}

/** fastify takes a hook that rejects with nothing for one that has passed. */
function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error("a schema's validation rejected", { cause: thrown });
}

function isStandard(schema: unknown): schema is StandardSchemaV1 {
  return (typeof schema === "object" || typeof schema === "function") && schema !== null && "~standard" in schema;
}

function toReplySchema(schema: unknown): unknown {
  if (!isStandard(schema)) return schema;
  const standard: StandardSchemaV1.Props & Partial<StandardJsonSchema> = schema["~standard"];
  return standard.jsonSchema?.output({ target: "draft-07" }) ?? {};
}

/** How a Standard Schema that can tells its JSON Schema. @see https://standardschema.dev/json-schema */
interface StandardJsonSchema {
  readonly jsonSchema: { output(options: { readonly target: string }): Record<string, unknown> };
}

function toFaults(issue: StandardSchemaV1.Issue & { readonly keys?: unknown }, prefix: string): FieldFault[] {
  const pointer = toPointer(
    prefix,
    (issue.path ?? []).map((part) => (typeof part === "object" ? part.key : part)),
  );
  if (Array.isArray(issue.keys))
    return issue.keys.map((key) => ({ pointer: toPointer(pointer, [String(key)]), detail: "is not a known field" }));
  return [{ pointer, detail: issue.message.replace(/^Invalid input: /, "") }];
}
