import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { lengthsIn } from "./lengths.ts";

/** Bytes of a type of their own, which are no JSON. @see https://github.com/googleapis/googleapis/blob/master/google/api/httpbody.proto */
export interface HttpBody {
  /** Empty where it says none. */
  readonly contentType: string;
  readonly data: Uint8Array;
}

const [typeNumber, dataNumber] = [1, 2];

export function isHttpBody(message: DescMessage): boolean {
  return message.typeName === "google.api.HttpBody";
}

/** Whether a field is one such message. */
export function holdsHttpBody(field: DescField): boolean {
  return field.fieldKind === "message" && !field.delimitedEncoding && isHttpBody(field.message);
}

/** @param field - Of the message that it stands in; undefined: it is all of the message. */
export function writeHttpBody({ contentType, data }: HttpBody, field: DescField | undefined): Uint8Array {
  const body = new BinaryWriter();
  if (contentType !== "") body.tag(typeNumber, WireType.LengthDelimited).string(contentType);
  if (data.length > 0) body.tag(dataNumber, WireType.LengthDelimited).bytes(data);
  const bytes = body.finish();
  return field ? new BinaryWriter().tag(field.number, WireType.LengthDelimited).bytes(bytes).finish() : bytes;
}

/**
 * The body in the bytes of a message. Throws for bytes that are none.
 * @param field - Of the message, that it stands in; undefined: it is all of the message.
 */
export function readHttpBody(message: Uint8Array, field: DescField | undefined): HttpBody {
  // What stands there several times is one message: protobuf joins them, and of each field the last one counts.
  const bytes = field ? Buffer.concat(lengthsIn(message, field.number)) : message;
  const type = lengthsIn(bytes, typeNumber).at(-1);
  return {
    contentType: type ? Buffer.from(type).toString() : "",
    data: lengthsIn(bytes, dataNumber).at(-1) ?? new Uint8Array(),
  };
}
