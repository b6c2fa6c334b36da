import { metrics, provider, token } from "@plinth/kernel";
import { registry } from "@plinth/registry";
import { createGrpcChannel, createRpcClient, type RpcChannel, type RpcClient } from "@plinth/transport";
import { GreeterService } from "../gen/plinth/examples/greeter/v1/greeter_pb.ts";

interface Greeter {
  readonly client: RpcClient<typeof GreeterService>;
  readonly channel: RpcChannel;
}

/** The greeter, typed by its contract: called over gRPC at whichever instances the registry tells. */
export const greeter = token("notes.greeter").of<Greeter>();

export const provideGreeter = provider({
  provides: greeter,
  needs: { registry, metrics },
  create: async (needs) => {
    const channel = await createGrpcChannel({ peer: "greeter", ...needs });
    return { channel, client: createRpcClient(GreeterService, { channel }) };
  },
  stop: ({ channel }, { signal }) => channel.close({ signal }),
});
