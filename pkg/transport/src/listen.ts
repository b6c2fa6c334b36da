import type { Server } from "node:net";
import { messageOf } from "@plinth/kernel";
import { bind } from "./bind.ts";
import { TransportError } from "./errors.ts";
import type { ListenPathOptions } from "./listen-path.ts";

export interface ListenOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Lets other processes listen on the port too, each with a share of the connections. Default false. */
  readonly reusePort?: boolean;
  /** The environment variable that moves the port, for the error message. */
  readonly variable: string;
}

/**
 * Binds `server`, and tells the port it got: 0 for a path. A Unix domain socket that nobody answers on any more is taken over,
 * and removed when the server closes.
 * @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY` naming port and variable, or the path, or `ERR_LISTEN_ADDRESS`.
 */
export async function listen(server: Server, options: ListenOptions | ListenPathOptions): Promise<number> {
  if ("path" in options) {
    const { listenOnPath } = await import("./listen-path.ts");
    await listenOnPath(server, options);
    return 0;
  }
  const { host, port, variable, reusePort = false } = options;
  await bind(server, { host, port, reusePort }, (error) => toListenError(error, { host, port, variable }));
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : port;
}

/** The error that a failed bind becomes. */
export function toListenError(cause: unknown, { host, port, variable }: ListenOptions): TransportError {
  if (cause instanceof Error && "code" in cause && cause.code === "EADDRINUSE") {
    return new TransportError(
      "ERR_LISTEN_PORT_BUSY",
      "failed_precondition",
      `port ${port} on ${host} is in use by another process; stop that, or set ${variable} to a free port`,
      { cause },
    );
  }
  return new TransportError(
    "ERR_LISTEN_ADDRESS",
    "failed_precondition",
    `cannot listen on ${host}:${port}: ${messageOf(cause)}; check the address, or set ${variable}`,
    { cause },
  );
}
