import {
  create,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { messageOf } from "@plinth/kernel";
import { badCall, badReply, type CallTarget } from "../../rpc/client/errors.ts";

/** A request as it goes over the wire. @throws TransportError `ERR_RPC_REQUEST` for what is none. */
export function encode<M extends DescMethod>(
  method: M,
  request: MessageInitShape<M["input"]>,
  target: CallTarget,
): Buffer {
  const input: M["input"] = method.input;
  try {
    const { buffer, byteOffset, byteLength } = toBinary(input, create(input, request));
    return Buffer.from(buffer, byteOffset, byteLength);
  } catch (cause) {
    throw badCall(target, `its request is no ${input.typeName}: ${messageOf(cause)}`, cause);
  }
}

/** A reply as it came. @throws TransportError `ERR_RPC_REPLY` for what is none. */
export function decode<M extends DescMethod>(method: M, bytes: Buffer, target: CallTarget): MessageShape<M["output"]> {
  const output: M["output"] = method.output;
  try {
    return fromBinary(output, bytes);
  } catch (cause) {
    throw badReply(target, `what is no ${output.typeName}`, { cause });
  }
}
