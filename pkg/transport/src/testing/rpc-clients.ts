import type { RpcChannel } from "../rpc/client/channel.ts";
import { createGrpcChannel, type GrpcChannelOptions } from "../grpc/client/channel.ts";
import { type ConnectChannelOptions, createConnectChannel } from "../rpc/client/connect-channel.ts";
import { createRpcClient, type RpcClient, type RpcClientOptions } from "../rpc/client/client.ts";
import { connectRoutes } from "../rpc/connect.ts";
import { type RpcHandlers, rpcService } from "../rpc/service.ts";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { echoHandlers, startGrpc } from "./grpc.ts";
import { type Observed, startHttp } from "./http.ts";

/** A way from a client to a server of ours. */
export type RpcWire = "grpc" | "connect-proto" | "connect-json";

export const rpcWires: readonly RpcWire[] = ["grpc", "connect-proto", "connect-json"];

export interface TestRpcOptions extends Omit<RpcClientOptions, "channel"> {
  readonly handlers?: Partial<RpcHandlers<typeof EchoService>>;
  readonly grpc?: Partial<GrpcChannelOptions>;
  readonly connect?: Partial<ConnectChannelOptions>;
}

/** A server of ours and a client that calls it; both are closed at the end of the `await using` block. */
export interface TestRpc extends AsyncDisposable {
  readonly server: Observed;
  /** `127.0.0.1:port` of the server. */
  readonly address: string;
  readonly channel: RpcChannel;
  readonly client: RpcClient<typeof EchoService>;
}

export async function startRpc(wire: RpcWire, options: TestRpcOptions = {}): Promise<TestRpc> {
  const { handlers = {}, grpc, connect, ...clientOptions } = options;
  const server =
    wire === "grpc"
      ? await startGrpc({ handlers })
      : await startHttp({ routes: connectRoutes([rpcService(EchoService, { ...echoHandlers, ...handlers })]) });
  const channel =
    "origin" in server
      ? await createConnectChannel({
          peer: "echo",
          url: server.origin,
          codec: wire === "connect-json" ? "json" : "proto",
          ...connect,
        })
      : await createGrpcChannel({ peer: "echo", address: `127.0.0.1:${server.server.port}`, ...grpc });
  return {
    server,
    address: "origin" in server ? new URL(server.origin).host : `127.0.0.1:${server.server.port}`,
    channel,
    client: createRpcClient(EchoService, { ...clientOptions, channel }),
    async [Symbol.asyncDispose]() {
      await channel.close();
      await server[Symbol.asyncDispose]();
    },
  };
}
