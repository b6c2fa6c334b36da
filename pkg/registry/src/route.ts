import { createSocket } from "node:dgram";
import { isIPv6 } from "node:net";
import { lookup } from "node:dns/promises";
import { abortable } from "./abortable.ts";

/**
 * The address of this machine that packets to `host` leave from; nothing is sent. Undefined when there is no route, or `host` is this machine
 * itself, where the answer says nothing of how others reach it.
 */
export async function addressTowards(host: string, signal?: AbortSignal): Promise<string | undefined> {
  try {
    const { address } = await abortable(lookup(host), signal);
    const socket = createSocket(isIPv6(address) ? "udp6" : "udp4");
    try {
      const connected = Promise.withResolvers<void>();
      socket.once("error", connected.reject);
      socket.connect(anyPort, address, connected.resolve);
      await abortable(connected.promise, signal);
      const own = socket.address().address;
      return own === address || /^127\.|^::1$|^fe80:/i.test(own) ? undefined : own;
    } finally {
      socket.close();
    }
  } catch {
    signal?.throwIfAborted();
    return undefined; // the rule that comes next answers
  }
}

const anyPort = 9; // connecting only asks for the route
