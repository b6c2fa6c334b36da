import { randomUUID } from "node:crypto";
import type { RpcCallOptions, RpcClientOptions } from "@plinth/transport";

/** How one call is made. */
export type CallOptions = Pick<RpcCallOptions, "signal" | "timeoutMs" | "headers">;

/** What a client of one service is made of. */
export interface ServiceClientOptions extends RpcClientOptions {
  /** Names a request that may be sent several times, where its caller does not: 8 to 64 characters, random. Default: a UUID. */
  readonly newRequestId?: () => string;
}

export function newRequestIdOf({
  newRequestId = randomUUID,
}: Pick<ServiceClientOptions, "newRequestId">): () => string {
  return () => newRequestId();
}
