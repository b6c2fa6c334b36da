import type { DescMethod } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/** What an annotation says of one way to call a method. @see https://github.com/googleapis/googleapis/blob/master/google/api/http.proto */
export interface HttpRule {
  /** Empty where it names none. */
  readonly method: string;
  /** A path template. */
  readonly path: string;
  /** A field's name, `*` for all that the path does not name, or empty. */
  readonly body: string;
  /** The field of the reply that is the body; empty: all of it. */
  readonly responseBody: string;
  readonly additional: readonly HttpRule[];
}

/** `google.api.http` among the options of methods. It is an extension, which a reader that has not been told of it keeps as bytes. */
const extension = 72_295_728;
const verbs: ReadonlyMap<number, string> = new Map([
  [2, "GET"],
  [3, "PUT"],
  [4, "POST"],
  [5, "DELETE"],
  [6, "PATCH"],
]);
const maxDepth = 4;

/** The ways to call a method; undefined where it has no annotation. Throws for bytes that are none. */
export function httpRulesOf(method: DescMethod): readonly HttpRule[] | undefined {
  const parts = (method.proto.options?.$unknown ?? []).filter(({ no }) => no === extension);
  if (parts.length === 0) return undefined;
  // What stands in several parts is one message: protobuf joins them.
  const bytes = Buffer.concat(parts.map(({ data }) => new BinaryReader(data).bytes()));
  const rule = readRule(bytes, 0);
  return [rule, ...rule.additional];
}

function readRule(bytes: Uint8Array, depth: number): HttpRule {
  const rule = { method: "", path: "", body: "", responseBody: "" };
  const additional: HttpRule[] = [];
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (type !== WireType.LengthDelimited) reader.skip(type, field);
    else if (verbs.has(field)) {
      rule.method = verbs.get(field) ?? "";
      rule.path = reader.string();
    } else if (field === 7) rule.body = reader.string();
    else if (field === 8) Object.assign(rule, readCustom(reader.bytes()));
    else if (field === 11 && depth < maxDepth) additional.push(readRule(reader.bytes(), depth + 1));
    else if (field === 12) rule.responseBody = reader.string();
    else reader.skip(type, field);
  }
  return { ...rule, additional };
}

/** Any other method. */
function readCustom(bytes: Uint8Array): Pick<HttpRule, "method" | "path"> {
  const custom = { method: "", path: "" };
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.LengthDelimited) custom.method = reader.string();
    else if (field === 2 && type === WireType.LengthDelimited) custom.path = reader.string();
    else reader.skip(type, field);
  }
  return custom;
}
