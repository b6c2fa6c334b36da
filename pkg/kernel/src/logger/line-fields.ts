import type { RequestContext } from "../context.ts";
import { type FieldPlan, type FieldRules, idBitOf } from "./field-rules.ts";
import type { LogFields } from "./logger.ts";
import { mask } from "./redaction.ts";
import { keysOf, read, safeValue, startWalk, unreadable, type Walk } from "./safe-value.ts";
import { serializeError } from "./serialize-error.ts";
import { toText } from "./text.ts";

/** The fields of a logger as JSON text, made once for all of its lines: `,"service":"notes"`. */
export class BoundFields {
  readonly json: string;
  readonly #parts: ReadonlyMap<string, string>;

  constructor(parts: ReadonlyMap<string, string> = new Map()) {
    this.#parts = parts;
    this.json = [...parts.values()].join("");
  }

  has(name: string): boolean {
    return this.#parts.has(name);
  }

  /** These and `fields`, which win. */
  with(fields: LogFields, rules: FieldRules): BoundFields {
    const parts = new Map(this.#parts);
    try {
      const walk = startWalk(rules, fields);
      const { keys, more } = keysOf(fields);
      for (const key of keys) {
        const plan = rules.plan(key);
        const json = toJson(fields, key, plan, walk);
        if (json !== undefined) parts.set(plan.name, plan.start + json);
      }
      if (more !== undefined) parts.set("…", moreField(more));
    } catch {
      parts.set("fields", unreadableFields);
    }
    return new BoundFields(parts);
  }

  /** These and `fields`, which are plain already: only hidden. */
  withPlain(fields: LogFields, rules: FieldRules): BoundFields {
    const parts = new Map(this.#parts);
    for (const [name, value] of Object.entries(fields)) {
      const { isHidden, paths } = rules.plan(name);
      const shown = isHidden ? mask : rules.redact(value, paths);
      parts.set(name, `,${JSON.stringify(name)}:${JSON.stringify(shown)}`);
    }
    return new BoundFields(parts);
  }

  /** These and the logger's name. */
  withName(name: string): BoundFields {
    return new BoundFields(new Map([...this.#parts, ["logger", `,"logger":${JSON.stringify(name)}`]]));
  }

  /** The text without fields that a line has itself: none may stand there twice. */
  without(names: readonly string[]): string {
    return [...this.#parts].map(([name, json]) => (names.includes(name) ? "" : json)).join("");
  }
}

function moreField(more: string): string {
  return `,"…":"${more}"`;
}

const unreadableFields = `,"fields":"${unreadable}"`;

/**
 * The fields of one line as JSON text: those of its logger, its own, and what names the request being served, if any.
 * Whatever stands in them, nothing throws.
 */
export function lineFields(
  bound: BoundFields,
  fields: LogFields,
  rules: FieldRules,
  context: RequestContext | undefined,
): string {
  let own = "";
  let idBits = 0;
  let replaced: string[] | undefined;
  try {
    const walk = startWalk(rules, fields);
    const { keys, more } = keysOf(fields);
    for (const key of keys) {
      const plan = rules.plan(key);
      const json = toJson(fields, key, plan, walk);
      if (json === undefined) continue;
      own += plan.start + json;
      idBits |= plan.idBit;
      if (bound.has(plan.name)) (replaced ??= []).push(plan.name);
    }
    if (more !== undefined) own += moreField(more);
  } catch {
    own += unreadableFields;
  }
  if (context !== undefined) own += idsOf(context, bound, idBits);
  return (replaced ? bound.without(replaced) : bound.json) + own;
}

/** A field's value as JSON text; undefined for what no line shows. */
function toJson(fields: LogFields, key: string, plan: FieldPlan, walk: Walk): string | undefined {
  if (plan.isHidden) return masked;
  const value = read(fields, key);
  if (plan.paths !== undefined || plan.isError) return plainJson(value, plan, walk);
  switch (typeof value) {
    case "string":
      return JSON.stringify(toText(value));
    case "number":
      return Number.isFinite(value) ? String(value) : "null";
    case "boolean":
      return value ? "true" : "false";
    default:
      return plainJson(value, plan, walk);
  }
}

/** What stands in place of a hidden value. */
export const masked = JSON.stringify(mask);

function plainJson(value: unknown, { isError, paths }: FieldPlan, walk: Walk): string | undefined {
  const plain = isError ? serializeError(value, (key) => walk.rules.isHidden(key)) : safeValue(value, walk);
  if (plain === undefined) return undefined;
  return JSON.stringify(paths === undefined ? plain : walk.rules.redact(plain, paths));
}

/** A field of the caller's of the same name is kept. */
function idsOf({ span, requestId }: RequestContext, bound: BoundFields, idBits: number): string {
  let ids = "";
  if (span !== undefined) {
    ids += idOf("trace_id", span.traceId, bound, idBits & idBitOf.trace_id);
    ids += idOf("span_id", span.spanId, bound, idBits & idBitOf.span_id);
  }
  if (requestId !== undefined) ids += idOf("request_id", requestId, bound, idBits & idBitOf.request_id);
  return ids;
}

function idOf(name: string, id: string, bound: BoundFields, isGiven: number): string {
  return isGiven === 0 && !bound.has(name) ? `,"${name}":${JSON.stringify(id)}` : "";
}
