// A real Consul agent in development mode, on free ports of this machine, for as long as a test needs it.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type ServerProcess, startServerProcess } from "./child.ts";
import { ServerError } from "./errors.ts";
import { type Server, findServer } from "./find.ts";
import { findFreePorts } from "./ports.ts";

const readyLimitMs = 15_000;
const pollMs = 20;

export interface ConsulOptions {
  /** The address it listens on, a loopback one. Default `127.0.0.1`. */
  readonly host?: string;
  /** More arguments for `consul agent`, after ours. Default none. */
  readonly args?: readonly string[];
}

export interface ConsulAgent extends AsyncDisposable {
  /** Base URL of its HTTP API. Stays the same across restarts. */
  readonly address: string;
  /** Of the process that runs now; another one after {@link restart}. */
  readonly pid: number;
  /** What the agent printed last. */
  output(): string;
  /** Sends `signal`. Resolves when the process has ended; for SIGSTOP and SIGCONT, at once. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /**
   * Stops the agent if it still runs and starts it again on the same ports, ready when it resolves. Services registered
   * with the agent come back, with a Consul index that starts from 1 again; with `wipe` everything is gone.
   */
  restart(options?: { readonly wipe?: boolean }): Promise<void>;
  /** Ends it and removes its files. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Starts `consul agent -dev`. Ready when it resolves: there is a leader, and the health of services can be asked for.
 *
 * The agent ends with this process in any case, even one that is killed, and does not keep it alive.
 *
 * @throws {@link ServerError} `ERR_SERVER_MISSING` when no Consul can be had, `ERR_SERVER_START` when it does not come up.
 */
export async function startConsul({ host = "127.0.0.1", args = [] }: ConsulOptions = {}): Promise<ConsulAgent> {
  const server = await findServer("consul");
  const dataFolder = await mkdtemp(join(tmpdir(), "plinth-consul-"));
  const run = (at: Ports) => startAgent(server, host, at, dataFolder, args);
  const started = await startOnFreePorts(host, run).catch(async (error: unknown) => {
    await rm(dataFolder, { recursive: true, force: true });
    throw error;
  });
  const { ports } = started;
  let { agent } = started;
  const stop = async () => {
    await agent.stop();
    await rm(dataFolder, { recursive: true, force: true });
  };
  return {
    address: `http://${host}:${ports.http}`,
    get pid() {
      return agent.pid;
    },
    output: () => agent.output(),
    kill: (signal) => agent.kill(signal),
    async restart({ wipe = false } = {}) {
      await agent.stop();
      if (wipe) await rm(dataFolder, { recursive: true, force: true });
      agent = await run(ports);
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

interface Ports {
  readonly http: number;
  readonly server: number;
  readonly serf: number;
}

interface Started {
  readonly agent: ServerProcess;
  readonly ports: Ports;
}

/** Another process may take a port after it was found free: then once more, on others. */
async function startOnFreePorts(host: string, run: (ports: Ports) => Promise<ServerProcess>): Promise<Started> {
  const ports = await choosePorts(host);
  try {
    return { agent: await run(ports), ports };
  } catch (error) {
    if (!(error instanceof ServerError && error.message.includes("address already in use"))) throw error;
    const others = await choosePorts(host);
    return { agent: await run(others), ports: others };
  }
}

async function choosePorts(host: string): Promise<Ports> {
  const [http = 0, server = 0, serf = 0] = await findFreePorts(3, host);
  return { http, server, serf };
}

/** Development mode keeps its catalogue in memory; the agent's own services are on disk, as in a real agent. */
function agentArguments(host: string, ports: Ports, dataFolder: string): string[] {
  return [
    "agent",
    "-dev",
    `-bind=${host}`,
    `-client=${host}`,
    `-http-port=${ports.http}`,
    `-server-port=${ports.server}`,
    `-serf-lan-port=${ports.serf}`,
    "-serf-wan-port=-1",
    "-dns-port=-1",
    "-grpc-port=-1",
    `-node=consul-${ports.http}`,
    `-data-dir=${dataFolder}`,
    "-log-level=info",
    // It must never ask the internet for a newer version of itself.
    "-hcl=disable_update_check = true",
  ];
}

async function startAgent(
  server: Server,
  host: string,
  ports: Ports,
  dataFolder: string,
  more: readonly string[],
): Promise<ServerProcess> {
  const args = [...agentArguments(host, ports, dataFolder), ...more];
  const agent = await startServerProcess(server, args, dataFolder);
  const address = `http://${host}:${ports.http}`;
  const deadline = performance.now() + readyLimitMs;
  while (!(await isReady(address))) {
    const reason = agent.exited()
      ? "ended"
      : performance.now() > deadline
        ? `was not ready in ${readyLimitMs} ms`
        : undefined;
    if (reason !== undefined) {
      await agent.kill("SIGKILL");
      throw new ServerError(
        "ERR_SERVER_START",
        `${server.bin} at ${address} ${reason}; it printed:\n${agent.output()}`,
      );
    }
    await delay(pollMs);
  }
  return agent;
}

async function isReady(address: string): Promise<boolean> {
  const leader = await ask(`${address}/v1/status/leader`);
  if (typeof leader !== "string" || leader === "") return false;
  const servers = await ask(`${address}/v1/health/service/consul?passing`);
  return Array.isArray(servers) && servers.length > 0;
}

/** The reply's JSON, or undefined while nobody answers or the answer is an error. */
async function ask(url: string): Promise<unknown> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(1_000) });
    const text = await response.text();
    return response.ok ? JSON.parse(text) : undefined;
  } catch (error) {
    if (error instanceof TypeError || (error instanceof Error && error.name === "TimeoutError")) return undefined;
    throw error;
  }
}
