import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";

/** Messages that are one text in JSON. */
const texts: ReadonlySet<string> = new Set([
  "google.protobuf.Timestamp",
  "google.protobuf.Duration",
  "google.protobuf.FieldMask",
]);
const anyJson: ReadonlySet<string> = new Set([
  "google.protobuf.Value",
  "google.protobuf.Struct",
  "google.protobuf.ListValue",
]);

/** How the text of a path or a query becomes JSON. */
export type TextForm = "text" | "boolean" | "number" | "bytes" | "enum";

/** The field of a name, as the contract or as JSON writes it. */
export function fieldOf(message: DescMessage, name: string): DescField | undefined {
  return message.fields.find((field) => field.name === name) ?? message.fields.find((field) => field.jsonName === name);
}

/**
 * The fields that names lead through, from the outside in.
 * @returns What is wrong, as text, where they lead nowhere.
 */
export function fieldsAt(message: DescMessage, names: readonly string[]): DescField[] | string {
  const fields: DescField[] = [];
  let within: DescMessage | undefined = message;
  for (const name of names) {
    const field: DescField | undefined = within && fieldOf(within, name);
    if (field === undefined)
      return within ? `there is no field ${name} in ${within.typeName}` : `${names.join(".")} is no field`;
    fields.push(field);
    within = field.fieldKind === "message" && textFormOf(field) === undefined ? field.message : undefined;
  }
  return fields;
}

/** Undefined for what no text stands for: messages, and maps. */
export function textFormOf(field: DescField): TextForm | undefined {
  switch (field.fieldKind) {
    case "scalar":
      return formOfScalar(field.scalar);
    case "enum":
      return formOfEnum(field.enum.typeName);
    case "message":
      return formOfMessage(field.message);
    case "list":
      if (field.listKind === "scalar") return formOfScalar(field.scalar);
      return field.listKind === "enum" ? formOfEnum(field.enum.typeName) : formOfMessage(field.message);
    default:
      return undefined;
  }
}

/** As {@link textFormOf}. */
export function formOfScalar(scalar: ScalarType): TextForm {
  switch (scalar) {
    case ScalarType.BOOL:
      return "boolean";
    case ScalarType.STRING:
      return "text";
    case ScalarType.BYTES:
      return "bytes";
    default:
      return "number";
  }
}

function formOfEnum(typeName: string): TextForm | undefined {
  return typeName === "google.protobuf.NullValue" ? undefined : "enum";
}

/** As {@link textFormOf}. */
export function formOfMessage(message: DescMessage): TextForm | undefined {
  if (texts.has(message.typeName)) return "text";
  const [value] = isWrapperDesc(message) ? message.fields : [];
  return value && textFormOf(value);
}

/** Whether JSON of any form may stand somewhere in a message. */
export function takesAnyJson(message: DescMessage, seen: Set<DescMessage> = new Set()): boolean {
  if (anyJson.has(message.typeName)) return true;
  if (seen.has(message)) return false;
  seen.add(message);
  return (
    message.typeName === "google.protobuf.Any" ||
    message.fields.some((field) => {
      return field.message !== undefined && takesAnyJson(field.message, seen);
    })
  );
}
