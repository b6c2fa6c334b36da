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
export function listen(server: Server, { host, port, variable }: ListenOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => {
      server.off("listening", onListening);
      reject(toListenError(error, { host, port, variable }));
    };
    const onListening = (): void => {
      server.off("error", onError);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    };
    server.once("error", onError);
    server.once("listening", onListening);
    server.listen({ host, port });
  });
}

/** The error that a failed bind becomes. */
export function toListenError(
  error: Error & { readonly code?: unknown },
  { host, port, variable }: ListenOptions,
): TransportError {
  if (error.code === "EADDRINUSE") {
    return new TransportError(
      "ERR_LISTEN_PORT_BUSY",
      "failed_precondition",
      `port ${port} on ${host} is in use by another process; stop that, or set ${variable} to a free port`,
      { cause: error },
    );
  }
  return new TransportError(
    "ERR_LISTEN_ADDRESS",
    "failed_precondition",
    `cannot listen on ${host}:${port}: ${messageOf(error)}; check the address, or set ${variable}`,
    { cause: error },
  );
}
