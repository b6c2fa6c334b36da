import type { onRouteHookHandler, preSerializationHookHandler } from "fastify";
import type { StandardSchemaV1 } from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import { contentOf, isStandard, mediaTypeOf } from "./schema-kinds.ts";
import { toFaults } from "./schema-faults.ts";

type Route = Parameters<onRouteHookHandler>[0];

/** The schemas of one status: one, or one for each media type. */
type Replies = StandardSchemaV1 | ReadonlyMap<string, StandardSchemaV1>;

/** Told of the reply that does not fit. */
const maxFaults = 10;

/**
 * Runs the Standard Schemas of a route's replies on what its handler sends: what they make of it leaves, and nothing else. A reply
 * that does not fit is a fault of the server, and none of it leaves. fastify's serializer sees only the JSON Schemas: after a
 * Standard Schema it would cost a second pass, and it cannot write all that they can tell.
 */
export function useReplySchemas(route: Route): void {
  const response: unknown = route.schema?.response;
  if (typeof response !== "object" || response === null) return;
  const checked = new Map<string, Replies>();
  const others: [string, unknown][] = [];
  for (const [status, reply] of Object.entries(response)) {
    const schemas = standardOf(reply);
    if (schemas === undefined) others.push([status, reply]);
    else checked.set(status.toLowerCase(), schemas);
  }
  if (checked.size === 0) return;
  const { response: _replaced, ...rest } = route.schema ?? {};
  route.schema = others.length > 0 ? { ...rest, response: Object.fromEntries(others) } : rest;
  const before = route.preSerialization ?? [];
  route.preSerialization = [...(Array.isArray(before) ? before : [before]), check(checked, route)];
}

/** @throws TypeError when some media types of a reply have Standard Schemas and others not. */
function standardOf(reply: unknown): Replies | undefined {
  if (isStandard(reply)) return reply;
  const types = Object.entries(contentOf(reply) ?? {});
  const standard = types.filter((each): each is [string, StandardSchemaV1] => isStandard(each[1]));
  if (standard.length === 0) return undefined;
  if (standard.length === types.length) return new Map(standard.map(([type, schema]) => [type.toLowerCase(), schema]));
  throw new TypeError("the schemas of a reply's media types are all Standard Schemas, or none is");
}

function check(replies: ReadonlyMap<string, Replies>, { url }: Route): preSerializationHookHandler {
  return (request, reply, payload, done) => {
    const schema = schemaFor(replies, reply.statusCode, reply.getHeader("content-type"));
    if (schema === undefined) {
      done(null, payload);
      return;
    }
    const settle = (result: StandardSchemaV1.Result<unknown>): void => {
      if (result.issues) done(misfit(`${request.method} ${url}`, reply.statusCode, result.issues));
      else done(null, result.value);
    };
    const result = schema["~standard"].validate(payload);
    if (result instanceof Promise) result.then(settle, (error: unknown) => done(toError(error)));
    else settle(result);
  };
}

function schemaFor(
  replies: ReadonlyMap<string, Replies>,
  status: number,
  contentType: unknown,
): StandardSchemaV1 | undefined {
  const found = replies.get(String(status)) ?? replies.get(`${Math.floor(status / 100)}xx`) ?? replies.get("default");
  if (found === undefined || isStandard(found)) return found;
  return found.get(mediaTypeOf(contentType)) ?? found.get("*/*");
}

function misfit(route: string, status: number, issues: readonly StandardSchemaV1.Issue[]): TransportError {
  const faults = issues.slice(0, maxFaults).flatMap((issue) => toFaults(issue, ""));
  const more = issues.length > maxFaults ? `; and ${issues.length - maxFaults} more` : "";
  return new TransportError(
    "ERR_REPLY_INVALID",
    "internal",
    `the reply of ${route} with status ${status} does not fit its schema: ${faults.map(({ pointer, detail }) => `${pointer || "/"} ${detail}`).join("; ")}${more}`,
  );
}

/** fastify takes a hook that rejects with nothing for one that has passed. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error("a schema's validation rejected", { cause: thrown });
}
