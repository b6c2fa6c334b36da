import type { DescField, DescMessage, JsonValue } from "@bufbuild/protobuf";
import { fieldOf, formOfMessage, formOfScalar, type TextForm, textFormOf } from "./fields.ts";
import { RequestFault } from "./request-fault.ts";

/** A whole number of JSON that JavaScript has no number for. */
class ExactNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** What the contract has where a value of JSON stands. */
interface Place {
  readonly name: string;
  readonly form: TextForm | undefined;
  readonly message: DescMessage | undefined;
  /** Of what is under each key of a map. */
  readonly values?: Place;
}

/** Whether a number has more digits than JavaScript keeps. */
export function isInexact(number: string): boolean {
  return (
    number.length > 15 &&
    number.length <= 40 &&
    /^-?(?:0|[1-9]\d*)$/.test(number) &&
    BigInt(number) !== BigInt(Number(number))
  );
}

/**
 * Reads JSON that has such numbers: where the contract has a number they become text, which protobuf reads with all of its digits.
 *
 * @param at - What the whole of it is for.
 * @throws SyntaxError; {@link RequestFault} where such a number stands for something else.
 */
export function parseExact(text: string, at: DescMessage | DescField): JsonValue {
  const value: unknown = JSON.parse(text, (_key, parsed: unknown, ...rest: unknown[]) => {
    const source: unknown = typeof parsed === "number" && isRecord(rest[0]) ? rest[0]["source"] : undefined;
    return typeof source === "string" && isInexact(source) ? new ExactNumber(source) : parsed;
  });
  return toJson(value, at.kind === "message" ? ofMessage(at) : ofField(at));
}

function toJson(value: unknown, place: Place | undefined): JsonValue {
  if (value instanceof ExactNumber) {
    if (place && place.form !== "number") throw new RequestFault(`field ${place.name}: a number does not fit there`);
    return value.text;
  }
  if (Array.isArray(value)) return value.map((item) => toJson(item, place));
  if (isRecord(value)) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner, placeIn(place, key))]));
  }
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : null;
}

/** Undefined for a key that the contract does not have, which is refused later on. */
function placeIn(place: Place | undefined, key: string): Place | undefined {
  if (place?.values) return place.values;
  const field = place?.message && fieldOf(place.message, key);
  return field && ofField(field);
}

function ofField(field: DescField): Place {
  const { name } = field;
  if (field.fieldKind !== "map") return { name, form: textFormOf(field), message: field.message };
  const values =
    field.mapKind === "message"
      ? { ...ofMessage(field.message), name }
      : { name, form: field.mapKind === "scalar" ? formOfScalar(field.scalar) : ("enum" as const), message: undefined };
  return { name, form: undefined, message: undefined, values };
}

function ofMessage(message: DescMessage): Place {
  return { name: message.typeName, form: formOfMessage(message), message };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
