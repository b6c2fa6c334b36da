import type { DescMethod, MessageShape } from "@bufbuild/protobuf";
import { AppError, metrics, provider, token } from "@plinth/kernel";
import { authorityOf, registry, type RegistryView } from "@plinth/registry";
import {
  createGrpcChannel,
  createRpcClient,
  type RpcChannel,
  type RpcClient,
  type StreamChannelCall,
  type UnaryChannelCall,
} from "@plinth/transport";
import { GreeterService } from "../gen/plinth/examples/greeter/v1/greeter_pb.ts";

const service = "greeter";
/** For the calls that are under way on a connection which is given up, in ms. */
const lingerMs = 2_000;

interface Opened {
  readonly address: string;
  readonly channel: Promise<RpcChannel>;
}

/** A channel over channels: calls the first instance that the registry knows, on one connection, and moves on with it. */
class GreeterChannel implements RpcChannel {
  readonly peer = service;
  readonly #view: RegistryView;
  readonly #open: (address: string) => Promise<RpcChannel>;
  #opened: Opened | undefined;

  constructor(view: RegistryView, open: (address: string) => Promise<RpcChannel>) {
    this.#view = view;
    this.#open = open;
  }

  async unary<M extends DescMethod>(call: UnaryChannelCall<M>): Promise<MessageShape<M["output"]>> {
    const channel = await this.#channel();
    return channel.unary(call);
  }

  async *stream<M extends DescMethod>(call: StreamChannelCall<M>): AsyncIterable<MessageShape<M["output"]>> {
    const channel = await this.#channel();
    yield* channel.stream(call);
  }

  async close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void> {
    this.#view.close();
    const channel = await this.#opened?.channel;
    await channel?.close(options);
  }

  async #channel(): Promise<RpcChannel> {
    if (this.#view.current === undefined) await this.#view.ready; // no longer than the call may take
    const address = this.#view.current?.instances.map((instance) => authorityOf(instance, "grpc")).find(Boolean);
    if (address === undefined) {
      throw new AppError("ERR_NOTES_NO_GREETER", "unavailable", `no instance of ${service} that speaks gRPC is known`);
    }
    if (this.#opened?.address !== address) {
      const left = this.#opened;
      this.#opened = { address, channel: this.#open(address) };
      const old = await left?.channel;
      void old?.close({ signal: AbortSignal.timeout(lingerMs) });
    }
    return this.#opened.channel;
  }
}

interface Greeter {
  readonly client: RpcClient<typeof GreeterService>;
  readonly channel: RpcChannel;
}

/** The greeter, typed by its contract: called over gRPC, where the registry finds it. */
export const greeter = token("notes.greeter").of<Greeter>();

export const provideGreeter = provider({
  provides: greeter,
  needs: { registry, metrics },
  create: ({ registry: known, metrics: own }) => {
    const open = (address: string) => createGrpcChannel({ peer: service, address, metrics: own });
    const channel = new GreeterChannel(known.follow(service), open);
    return { channel, client: createRpcClient(GreeterService, { channel }) };
  },
  stop: ({ channel }, { signal }) => channel.close({ signal }),
});
