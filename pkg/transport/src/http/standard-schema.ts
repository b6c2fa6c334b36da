import type { FastifyRequest, FastifyTypeProvider, onRouteHookHandler, preValidationHookHandler } from "fastify";
import type { StandardSchemaV1 } from "@plinth/kernel";
import { RequestError } from "../errors.ts";
import { mediaTypeRefused } from "./errors.ts";
import { listFieldsOf, withLists } from "./query-lists.ts";
import { toError, useReplySchemas } from "./reply-schemas.ts";
import { toFaults } from "./schema-faults.ts";
import { contentOf, isStandard, mediaTypeOf } from "./schema-kinds.ts";

/** Lets fastify infer the types of params, query, headers, body and replies from any Standard Schema. */
export interface StandardTypes extends FastifyTypeProvider {
  readonly validator: this["schema"] extends StandardSchemaV1
    ? StandardSchemaV1.InferOutput<this["schema"]>
    : this["schema"] extends { readonly content: infer Content }
      ? OutputOfContent<Content>
      : unknown;
  readonly serializer: this["schema"] extends StandardSchemaV1 ? StandardSchemaV1.InferInput<this["schema"]> : unknown;
}

/** Of a body that may come in several media types. */
type OutputOfContent<Content> = {
  readonly [Type in keyof Content]: Content[Type] extends { readonly schema: infer S }
    ? S extends StandardSchemaV1
      ? StandardSchemaV1.InferOutput<S>
      : unknown
    : unknown;
}[keyof Content];

/** A part of the request that a route gives a schema for. */
interface Part {
  readonly field: "params" | "query" | "headers" | "body";
  /** Where the part's faults point to. */
  readonly prefix: string;
  /** One, or those of a body by media type. */
  readonly schema: StandardSchemaV1 | ReadonlyMap<string, StandardSchemaV1>;
}

type Route = Parameters<onRouteHookHandler>[0];
type Result = StandardSchemaV1.Result<unknown>;

/** So many faults are told of one request: a body of 1 MiB may have half a million. */
const maxFaults = 100;

/**
 * Routes whose schemas are Standard Schemas are validated by them, all parts at once, and a request that does not fit
 * is told every fault, up to {@link maxFaults}. Those of their replies are run on what handlers send.
 * @throws TypeError, at the registration of the route, when it mixes Standard Schemas with others.
 */
export const useStandardSchemas: onRouteHookHandler = (route) => {
  if (!route.schema) return;
  const parts = partsOf(route);
  if (parts.length > 0 && route.validatorCompiler === undefined) {
    route.validatorCompiler = () => () => true; // fastify would stop at the first part that does not fit
    const before = route.preValidation ?? [];
    route.preValidation = [...(Array.isArray(before) ? before : [before]), validate(parts, route.attachValidation)];
  }
  useReplySchemas(route);
};

function partsOf({ url, schema = {} }: Route): readonly Part[] {
  const given = [
    { field: "params", prefix: "/params", schema: schema.params },
    { field: "query", prefix: "/query", schema: schema.querystring ?? aliasOf(schema) },
    { field: "headers", prefix: "/headers", schema: schema.headers },
    { field: "body", prefix: "", schema: byMediaType(schema.body) },
  ] as const;
  const present = given.filter((part) => part.schema !== undefined);
  const parts = present.filter((part): part is typeof part & Part => isStandard(part.schema) || isByType(part.schema));
  if (parts.length > 0 && parts.length < present.length) {
    const others = present.filter((part) => !parts.some(({ field }) => field === part.field));
    throw new TypeError(
      `route ${url}: the schema of ${namesOf(others)} is not a Standard Schema while that of ${namesOf(parts)} is; use one kind for a route`,
    );
  }
  return parts;
}

function namesOf(parts: readonly { readonly field: string }[]): string {
  return parts.map(({ field }) => field).join(" and ");
}

/** A body's Standard Schemas by media type, if it has them; else what was given. */
function byMediaType(body: unknown): unknown {
  const types = Object.entries(contentOf(body) ?? {});
  const standard = types.filter((each): each is [string, StandardSchemaV1] => isStandard(each[1]));
  if (types.length === 0 || standard.length < types.length) return body;
  return new Map(standard.map(([type, schema]) => [type.toLowerCase(), schema]));
}

function isByType(schema: unknown): schema is ReadonlyMap<string, StandardSchemaV1> {
  return schema instanceof Map;
}

/** fastify also takes `query` for `querystring`. */
function aliasOf(schema: object): unknown {
  return "query" in schema ? schema.query : undefined;
}

function isSettled<T extends object>(result: T | Promise<T>): result is T {
  return !(result instanceof Promise);
}

function validate(parts: readonly Part[], attach = false): preValidationHookHandler {
  const readers = parts.map(readerOf);
  return (request, _reply, done) => {
    /** Puts the values in place, or tells every fault. */
    const settle = (results: readonly Result[]): Error | undefined => {
      const faults = results.flatMap(({ issues = [] }, index) =>
        issues.slice(0, maxFaults).flatMap((issue) => toFaults(issue, parts[index]?.prefix ?? "")),
      );
      if (faults.length > 0) {
        const error = new RequestError(faults.slice(0, maxFaults));
        return attach && Reflect.set(request, "validationError", error) ? undefined : error;
      }
      for (const [index, { field }] of parts.entries()) {
        const result = results[index];
        if (result && "value" in result) Reflect.set(request, field, result.value);
      }
      return undefined;
    };
    let results: readonly (Result | Promise<Result>)[];
    try {
      results = readers.map((read) => read(request));
    } catch (error) {
      done(toError(error)); // a schema that throws, or a body of a media type that there is no schema for
      return;
    }
    const present = results.filter(isSettled);
    if (present.length === results.length) done(settle(present));
    else
      Promise.all(results.map(async (result) => result))
        .then(settle)
        .then(done, (error: unknown) => done(toError(error)));
  };
}

/** Reads one part of a request by its schema. */
function readerOf({ field, schema }: Part): (request: FastifyRequest) => Result | Promise<Result> {
  if (!isStandard(schema)) {
    return ({ body, headers }) => {
      const own = schema.get(mediaTypeOf(headers["content-type"]));
      if (own === undefined) throw mediaTypeRefused([...schema.keys()]);
      return own["~standard"].validate(body);
    };
  }
  if (field !== "query") return (request) => schema["~standard"].validate(request[field]);
  let lists: ReadonlySet<string> | undefined; // read with the first request: a start needs none of it
  return ({ query }) => {
    lists ??= listFieldsOf(schema);
    return schema["~standard"].validate(lists.size === 0 ? query : withLists(query, lists));
  };
}
