import type { DescMethod } from "@bufbuild/protobuf";
import type { ChannelCall, RpcMetadata } from "@plinth/transport";
import type { CallCredentials } from "./options.ts";

/** The headers of a call with those that say who calls. Nothing is asked where nobody is to be said. */
export async function credentialHeaders(
  credentials: readonly CallCredentials[],
  { headers, method, signal }: ChannelCall<DescMethod>,
  service: string,
): Promise<RpcMetadata> {
  const all = { ...headers };
  for (const each of credentials) Object.assign(all, await each.headers({ service, method, signal }));
  return all;
}
