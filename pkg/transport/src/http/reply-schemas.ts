import type { onRouteHookHandler, preSerializationHookHandler } from "fastify";
import type { StandardSchemaV1 } from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import { contentOf, isStandard, jsonSchemaTeller, mediaTypeOf } from "./schema-kinds.ts";
import { toFaults } from "./schema-faults.ts";

type Route = Parameters<onRouteHookHandler>[0];

/** The schemas of one status: one, or one for each media type. */
type Replies = StandardSchemaV1 | ReadonlyMap<string, StandardSchemaV1>;

/** Told of the reply that does not fit. */
const maxFaults = 10;

/**
 * Runs the Standard Schemas of a route's replies on what its handler sends, and writes what they made of it by their JSON Schema:
 * what is not in it does not leave. A reply that does not fit is a fault of the server, and none of it leaves.
 */
export function useReplySchemas(route: Route): void {
  const response: unknown = route.schema?.response;
  if (typeof response !== "object" || response === null) return;
  const checked = new Map<string, Replies>();
  const written: [string, unknown][] = [];
  for (const [status, reply] of Object.entries(response)) {
    const content = contentOf(reply);
    if (content === undefined) {
      if (isStandard(reply)) checked.set(status.toLowerCase(), reply);
      written.push([status, toWritten(reply)]);
      continue;
    }
    const standard = Object.entries(content).filter((each): each is [string, StandardSchemaV1] => isStandard(each[1]));
    if (standard.length > 0) checked.set(status.toLowerCase(), new Map(standard));
    const types = Object.entries(content).map(([type, schema]): [string, unknown] => [
      type,
      { schema: toWritten(schema) },
    ]);
    written.push([status, { content: Object.fromEntries(types) }]);
  }
  route.schema = { ...route.schema, response: Object.fromEntries(written) };
  if (checked.size === 0) return;
  const before = route.preSerialization ?? [];
  route.preSerialization = [...(Array.isArray(before) ? before : [before]), check(checked, route)];
}

/** For the serializer: nothing of it is known where a schema cannot tell its JSON Schema, and then all that it has made leaves. */
function toWritten(schema: unknown): unknown {
  if (!isStandard(schema)) return schema;
  try {
    return jsonSchemaTeller(schema, "output")?.("draft-07") ?? {};
  } catch {
    return {};
  }
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
