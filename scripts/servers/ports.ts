// Ports of this machine that nobody listens on.
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { once } from "node:events";

// Below what Linux and macOS hand out to outgoing connections, so that none takes the port of a server that is restarting.
const lowestPort = 20_000;
const highestPort = 32_000;

/** So many ports, all different, each free for TCP and UDP on `host` a moment ago. */
export async function findFreePorts(
  count: number,
  host = "127.0.0.1",
  random: () => number = Math.random,
): Promise<number[]> {
  const ports = new Set<number>();
  for (let tries = 0; ports.size < count; tries += 1) {
    if (tries > 100 * count) throw new Error(`no ${count} free ports on ${host} from ${lowestPort} to ${highestPort}`);
    const port = lowestPort + Math.floor(random() * (highestPort - lowestPort));
    if (!ports.has(port) && (await isFree(port, host))) ports.add(port);
  }
  return [...ports];
}

async function isFree(port: number, host: string): Promise<boolean> {
  const tcp = createServer();
  const udp = createSocket("udp4");
  try {
    const listening = once(tcp, "listening");
    tcp.listen({ port, host, exclusive: true });
    await listening;
    const bound = once(udp, "listening");
    udp.bind({ port, address: host, exclusive: true });
    await bound;
    return true;
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EADDRINUSE")) throw error;
    return false;
  } finally {
    tcp.close();
    udp.close();
  }
}
