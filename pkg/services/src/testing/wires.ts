import { createConnectChannel, createGrpcChannel, type RpcChannel } from "@plinth/transport";
import type { ReferenceServer } from "./reference-server.ts";

/** The ways to a reference server: their names, and their channels. */
export async function channelsTo({ grpcAddress, httpUrl }: ReferenceServer): Promise<Channels> {
  const peer = "reference";
  const grpc = await createGrpcChannel({ peer, address: grpcAddress });
  const http = await createConnectChannel({ peer, url: httpUrl });
  const json = await createConnectChannel({ peer, url: httpUrl, codec: "json", useGet: true });
  return {
    grpc,
    http,
    json,
    close: async () => void (await Promise.all([grpc.close(), http.close(), json.close()])),
  };
}

export interface Channels {
  readonly grpc: RpcChannel;
  readonly http: RpcChannel;
  /** HTTP in JSON, by GET where the contract allows it. */
  readonly json: RpcChannel;
  close(): Promise<void>;
}
