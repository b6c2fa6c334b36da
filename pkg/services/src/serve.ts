import type { DescService } from "@bufbuild/protobuf";
import type { RpcCall, rpcService } from "@plinth/transport";
import type { CallOptions } from "./calls.ts";

/** What a service asks of its callers, in all or by method: the scopes that its contract names. Default: what the server's setting says. */
export type ServiceOptions<S extends DescService> = Parameters<typeof rpcService<S>>[2];

/** What a call that is being served hands on to whoever does the work. */
export function callOf({ signal }: RpcCall): CallOptions {
  return { signal };
}
