// A network between a client and a server that a test can cut: half-open, so that neither end is told of it.
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface FaultProxy extends AsyncDisposable {
  /** On 127.0.0.1. */
  readonly port: number;
  /** The second word of what each connection sent first, which tells PostgreSQL's log-ins, TLS and cancel requests apart. */
  readonly beginnings: readonly number[];
  /** Connections that were made to it so far. */
  opened(): number;
  /**
   * From now on swallows what is sent, also that an end has closed, of these connections and of new ones.
   * @param what - `answers`: the server still hears the client, which hears nothing. Default `everything`.
   */
  freeze(what?: "everything" | "answers", options?: FreezeOptions): void;
  /** Whether more was answered since than is passed on: see {@link FreezeOptions.afterBytes}. */
  readonly hasSwallowed: boolean;
  /** From now on ends connections on which nothing has come for so long, in milliseconds, as load balancers do. */
  closeIdleAfter(ms: number): void;
  /** Connections that were ended so. */
  closedIdle(): number;
  /** Passes on again. What was swallowed is not made up for: the connections of before are reset. */
  thaw(): void;
}

export interface FreezeOptions {
  /** So much of the answers still gets through, all connections together. Default 0. */
  readonly afterBytes?: number;
  /** Connections that are made from now on work: those of now are lost on the way, as where a firewall has forgotten them. Default false. */
  readonly onlyOpen?: boolean;
}

/**
 * Starts one on a free port of 127.0.0.1. While nothing listens at its target, it closes what it takes.
 *
 * @param target - The server's port; asked for each connection.
 * @param host - The server's address. Default `127.0.0.1`.
 */
export async function startFaultProxy(target: () => number, host = "127.0.0.1"): Promise<FaultProxy> {
  const sockets = new Set<Socket>();
  const beginnings: number[] = [];
  let opened = 0;
  let frozen: "everything" | "answers" | undefined;
  let spareBytes = 0;
  let hasSwallowed = false;
  /** Those that work while the others are frozen. */
  let hasOnlyOpen = false;
  const spared = new WeakSet<Socket>();
  let idleMs = 0;
  let closedIdle = 0;
  const proxy = createServer((client) => {
    opened++;
    const upstream = connect(target(), host);
    client.once("data", (data: Buffer) => void (data.length >= 8 && beginnings.push(data.readInt32BE(4))));
    if (frozen !== undefined && hasOnlyOpen) spared.add(client);
    const isOpen = (from: Socket): boolean =>
      frozen === undefined || spared.has(client) || (frozen === "answers" && from === client);
    const passOn = (from: Socket, to: Socket, data: Buffer): void => {
      if (isOpen(from)) to.write(data);
      else if (from === upstream) {
        const rest = data.subarray(0, spareBytes);
        spareBytes -= rest.length;
        hasSwallowed ||= rest.length < data.length;
        if (rest.length > 0) to.write(rest);
      }
    };
    client.setTimeout(idleMs, () => {
      closedIdle++;
      client.destroy();
    });
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on("error", () => {}); // told by its close
      from.on("data", (data: Buffer) => passOn(from, to, data));
      from.on("close", () => {
        sockets.delete(from);
        if (isOpen(from)) to.destroy();
      });
    }
  });
  const reset = (): void => {
    for (const socket of sockets) {
      // Node keeps the handle of one that is reset while it ends, and turns for ever when the process ends.
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
  };
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const address = proxy.address();
  if (typeof address !== "object" || address === null) throw new Error("the proxy has no port");
  return {
    port: address.port,
    beginnings,
    opened: () => opened,
    get hasSwallowed() {
      return hasSwallowed;
    },
    freeze(what = "everything", { afterBytes = 0, onlyOpen = false } = {}) {
      frozen = what;
      spareBytes = afterBytes;
      hasSwallowed = false;
      hasOnlyOpen = onlyOpen;
    },
    closeIdleAfter: (ms) => void (idleMs = ms),
    closedIdle: () => closedIdle,
    thaw() {
      frozen = undefined;
      reset();
    },
    async [Symbol.asyncDispose]() {
      proxy.close();
      reset();
      if (proxy.listening) await once(proxy, "close");
    },
  };
}
