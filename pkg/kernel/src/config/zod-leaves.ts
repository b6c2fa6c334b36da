// The keys of a section from its zod schema itself: its JSON Schema takes longer to make than all else in a load of the config.
import { z } from "zod";
import { type Leaf, leavesOf, variableName } from "./leaves.ts";
import type { JsonSchema } from "./schema.ts";

/**
 * What `leavesOf` finds in the schema's JSON Schema, in the same order. What a leaf takes is found out when it is asked.
 *
 * @returns undefined for what is no zod schema, or has something in it that its JSON Schema alone tells.
 */
export function zodLeavesOf(schema: unknown, section: string): Leaf[] | undefined {
  const leaves: Leaf[] = [];
  const collect = (given: unknown, path: readonly string[], isInSecret: boolean): boolean => {
    const read = unwrap(given);
    if (!read || path.length > maxDepth) return false;
    const isSecret = isInSecret || read.isSecret;
    const fields = fieldsOf(read.core);
    if (fields) return Object.entries(fields).every(([key, field]) => collect(field, [...path, key], isSecret));
    const holds = holdsSecret(read.core, 0);
    if (holds !== undefined) leaves.push(new ZodLeaf(read.whole, path, isSecret || holds));
    return holds !== undefined;
  };
  return collect(schema, [section], false) ? leaves : undefined;
}

type Told = Pick<Leaf, "schema" | "kinds" | "itemKinds">;

class ZodLeaf implements Leaf {
  readonly path: readonly string[];
  readonly key: string;
  readonly variable: string;
  readonly isSecret: boolean;
  readonly #given: z.ZodType;
  #told: Told | undefined;

  constructor(given: z.ZodType, path: readonly string[], isSecret: boolean) {
    this.#given = given;
    this.path = path;
    this.key = path.join(".");
    this.variable = variableName(path);
    this.isSecret = isSecret;
  }

  get schema(): JsonSchema {
    return this.#tell().schema;
  }

  get kinds(): Leaf["kinds"] {
    return this.#tell().kinds;
  }

  get itemKinds(): Leaf["itemKinds"] {
    return this.#tell().itemKinds;
  }

  #tell(): Told {
    return (this.#told ??= leavesOf(jsonSchemaOf(this.#given), this.key)[0] ?? {
      schema: {},
      kinds: [],
      itemKinds: [],
    });
  }
}

/** Without its `$schema`. That of anything where zod cannot make one: the validation says what is wrong with it. */
function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  try {
    const { $schema: _, ...own } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
    return own;
  } catch {
    return {};
  }
}

/** Deeper than any settings are: a schema that holds itself. */
const maxDepth = 16;
/** What `meta` may say without a change to the keys. */
const plainWords: ReadonlySet<string> = new Set(["title", "description", "examples", "deprecated", "writeOnly"]);

interface Unwrapped {
  readonly whole: z.ZodType;
  /** The schema in it that says what is taken. */
  readonly core: z.ZodType;
  /** The outermost that says so decides. */
  readonly isSecret: boolean;
}

function unwrap(given: unknown): Unwrapped | undefined {
  if (!(given instanceof z.ZodType)) return undefined;
  let core = given;
  let isSecret: boolean | undefined;
  for (;;) {
    if (core._zod.toJSONSchema !== undefined || hasName(core)) return undefined;
    const meta = core.meta() ?? {};
    if (!Object.keys(meta).every((word) => plainWords.has(word))) return undefined;
    if ("writeOnly" in meta) isSecret ??= meta.writeOnly === true;
    const inner = innerOf(core);
    if (inner === undefined) return { whole: given, core, isSecret: isSecret ?? false };
    if (!(inner instanceof z.ZodType)) return undefined;
    core = inner;
  }
}

/** Whether the schema, or one that it refines, has an `id`, by which others refer to it. */
function hasName(schema: z.ZodType): boolean {
  for (let at: unknown = schema; at instanceof z.ZodType; at = at._zod.parent)
    if (at.meta()?.id !== undefined) return true;
  return false;
}

/** The schema in one that says only whether a value must be there, and what becomes of it. */
function innerOf(schema: z.ZodType): unknown {
  if (schema instanceof z.ZodPipe) return schema.def.in instanceof z.ZodTransform ? schema.def.out : schema.def.in;
  const isWrapper =
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNonOptional ||
    schema instanceof z.ZodReadonly ||
    schema instanceof z.ZodCatch;
  return isWrapper ? schema.def.innerType : undefined;
}

/** Of an object whose keys are all known; other keys may be secret as well. */
function fieldsOf(schema: z.ZodType): Readonly<Record<string, unknown>> | undefined {
  if (!(schema instanceof z.ZodObject)) return undefined;
  const { catchall } = schema.def;
  return catchall === undefined || catchall instanceof z.ZodNever ? schema.def.shape : undefined;
}

/** Schemas with none in them. */
const simpleTypes: ReadonlySet<string> = new Set([
  "string",
  "number",
  "int",
  "boolean",
  "null",
  "any",
  "unknown",
  "enum",
  "literal",
  "template_literal",
  "custom",
]);

/** Whether a schema inside this one is of a secret; undefined where that cannot be told. */
function holdsSecret(schema: z.ZodType, depth: number): boolean | undefined {
  if (simpleTypes.has(schema.def.type)) return false;
  const inside = depth > maxDepth ? undefined : schemasIn(schema);
  if (!inside) return undefined;
  let result = false;
  for (const each of inside) {
    const read = unwrap(each);
    const holds = read && (read.isSecret || holdsSecret(read.core, depth + 1));
    if (holds === undefined) return undefined;
    result ||= holds;
  }
  return result;
}

function schemasIn(schema: z.ZodType): readonly unknown[] | undefined {
  const fields = fieldsOf(schema);
  if (fields) return Object.values(fields);
  if (schema instanceof z.ZodArray) return [schema.def.element];
  if (schema instanceof z.ZodRecord) return [schema.def.keyType, schema.def.valueType];
  if (schema instanceof z.ZodUnion) return schema.def.options;
  return schema instanceof z.ZodNullable ? [schema.def.innerType] : undefined;
}
