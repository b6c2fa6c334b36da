import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/** What stands under a number in a message's bytes, where that has a length. Throws for bytes that are no message. */
export function lengthsIn(bytes: Uint8Array, wanted: number): Uint8Array[] {
  const found: Uint8Array[] = [];
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === wanted && type === WireType.LengthDelimited) found.push(reader.bytes());
    else reader.skip(type, field);
  }
  return found;
}
