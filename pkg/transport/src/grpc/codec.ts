import { create, type DescMessage, type DescMethod, fromBinary, toBinary } from "@bufbuild/protobuf";
import { messageOf } from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import { requireMessage } from "../rpc/service.ts";
import type { Wire } from "./wire.ts";

/** @throws {@link TransportError} `ERR_REQUEST_BODY` when the bytes are no message of this type. */
export function decode(schema: DescMessage, bytes: Buffer): unknown {
  try {
    return fromBinary(schema, bytes);
  } catch (error) {
    throw new TransportError(
      "ERR_REQUEST_BODY",
      "invalid_argument",
      `the message is no ${schema.typeName}: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

/**
 * Messages as they come; a handler may stop reading and still write.
 * @param read - The message that the bytes are.
 * @throws why the call was stopped, when the caller cancels: what came until then must not pass for the whole.
 */
export async function* decodeAll(wire: Wire, read: (bytes: Buffer) => unknown): AsyncGenerator {
  for (let bytes = await wire.read(); bytes !== undefined; bytes = await wire.read()) yield read(bytes);
  // node's HTTP/2 client ends its stream properly before it resets it; the reset comes in the same turn.
  await new Promise(setImmediate);
  if (wire.exchange?.stopped) throw wire.exchange.stopped;
}

/** @param reply - A message, or what one is made of. */
export function encode(method: DescMethod, reply: unknown): Uint8Array {
  const message = create(method.output, requireMessage(method, reply));
  return toBinary(method.output, message);
}
