import type { Server } from "node:net";
import { messageOf } from "@plinth/kernel";
import { TransportError } from "./errors.ts";

export interface ListenOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** The environment variable that moves the port, for the error message. */
  readonly variable: string;
}

/**
 * Binds `server`, and tells the port it got.
 * @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY` naming port and variable, or `ERR_LISTEN_ADDRESS`.
 */
export async function listen(server: Server, { host, port, variable }: ListenOptions): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.once("listening", resolve);
  try {
    server.listen({ host, port });
    await promise;
  } catch (error) {
    throw toListenError(error, { host, port, variable });
  } finally {
    server.off("error", reject);
    server.off("listening", resolve);
  }
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
