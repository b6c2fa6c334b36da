import type { AppError, Clock } from "@plinth/kernel";
import type { RpcService } from "../service.ts";
import type { RpcChannel } from "./channel.ts";

export interface InProcessChannelOptions {
  /** Who is called, from a small fixed set. Default `in-process`. */
  readonly peer?: string;
  /** Told what handlers threw that no caller is told: faults of the server, and what no `AppError` is. Absent: nobody is. */
  readonly onFault?: (error: AppError) => void;
  /** Default: the system's. */
  readonly clock?: Clock;
}

/**
 * Calls services of this process without a socket, for tests and for what is served and called in one process. Messages, both ways, go through their binary form,
 * so that nothing is shared; deadlines, cancelling, metadata and errors are as over a wire, streams of all kinds too. Nobody is authenticated. The library for messages is loaded with the first.
 *
 * @throws TypeError for two services of one contract.
 * @example
 * const channel = await createInProcessChannel([rpcService(GreeterService, { greet: ({ name }) => ({ message: `Hello, ${name}` }) })]);
 * const greeter = createRpcClient(GreeterService, { channel });
 */
export async function createInProcessChannel(
  services: readonly RpcService[],
  options: InProcessChannelOptions = {},
): Promise<RpcChannel> {
  const { InProcessChannel } = await import("./in-process-driver.ts");
  return new InProcessChannel(services, options);
}
