import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { lengthsIn } from "./lengths.ts";

/** A typed detail of an error. */
export interface StatusDetail {
  readonly typeName: string;
  readonly value: Uint8Array;
}

/** The details in the field `grpc-status-details-bin`; what cannot be read counts as absent. @see https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto */
export function readStatusDetails(base64: string | undefined): StatusDetail[] {
  if (base64 === undefined) return [];
  try {
    return lengthsIn(Buffer.from(base64, "base64"), 3).map(toDetail);
  } catch {
    return []; // somebody else's bytes: the error itself is still told
  }
}

/** After how many seconds to try again, if a detail says so. */
export function retrySecondsIn(details: readonly StatusDetail[]): number | undefined {
  const info = details.find(({ typeName }) => typeName === "google.rpc.RetryInfo");
  if (info === undefined) return undefined;
  try {
    const [delay] = lengthsIn(info.value, 1);
    return delay && Math.max(1, Math.min(86_400, secondsOf(delay)));
  } catch {
    return undefined; // as above
  }
}

function toDetail(any: Uint8Array): StatusDetail {
  const [url, value = new Uint8Array()] = [lengthsIn(any, 1)[0], lengthsIn(any, 2)[0]];
  const text = Buffer.from(url ?? []).toString();
  return { typeName: text.slice(text.lastIndexOf("/") + 1), value };
}

/** A Duration in whole seconds, rounded up. */
function secondsOf(duration: Uint8Array): number {
  const reader = new BinaryReader(duration);
  let seconds = 0;
  let nanos = 0;
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.Varint) seconds = Number(reader.int64());
    else if (field === 2 && type === WireType.Varint) nanos = reader.int32();
    else reader.skip(type, field);
  }
  return seconds + (nanos > 0 ? 1 : 0);
}
