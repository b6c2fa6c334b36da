import { Metadata, type ServiceError, type StatusObject, status as Code } from "@grpc/grpc-js";
import type { RpcMetadata } from "../../rpc/client/channel.ts";

/** Headers as the library is given them: binary ones as bytes. */
export function toGrpc(headers: RpcMetadata): Metadata {
  const metadata = new Metadata();
  for (const name in headers) {
    const value = headers[name] ?? "";
    metadata.set(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  }
  return metadata;
}

export function fromGrpc(metadata: Metadata): RpcMetadata {
  return Object.fromEntries(
    Object.keys(metadata.getMap()).map((name): [string, string] => [
      name,
      metadata
        .get(name)
        .map((value) => (typeof value === "string" ? value : value.toString("base64")))
        .join(", "),
    ]),
  );
}

/** A status as the error that the library's clients make of it. */
export function toServiceError(status: StatusObject): ServiceError {
  const { code, details, metadata } = status;
  return Object.assign(new Error(`${code} ${Code[code]}: ${details}`), { code, details, metadata });
}
