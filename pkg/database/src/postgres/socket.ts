import { Socket, type SocketConnectOpts } from "node:net";
import type { Endpoint } from "./hosts.ts";

/**
 * A socket for pg, which calls `connect` on it with a host of its own choice, the name for TLS: this one goes where the endpoint says,
 * to the addresses that were looked up for it, whichever answers first.
 */
export function socketTo({ host, port, addresses }: Pick<Endpoint, "host" | "port" | "addresses">): Socket {
  return new EndpointSocket(
    host.startsWith("/")
      ? { path: `${host}/.s.PGSQL.${port}` }
      : {
          host,
          port,
          autoSelectFamily: true,
          lookup: (_name, { all }, give) => {
            const [first] = addresses ?? [];
            if (all === true) give(null, [...(addresses ?? [])]);
            else give(null, first?.address ?? host, first?.family);
          },
        },
  );
}

class EndpointSocket extends Socket {
  readonly #target: SocketConnectOpts;

  constructor(target: SocketConnectOpts) {
    super();
    this.#target = target;
  }

  override connect(): this {
    return super.connect(this.#target);
  }
}
