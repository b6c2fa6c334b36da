// One member of a Consul cluster: a process that is killed, stopped and started again as the same member.
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { type Server, type ServerProcess, startServerProcess } from "../../scripts/servers/index.ts";
import { until } from "./until.ts";

// A loaded machine takes seconds for what takes a tenth of one otherwise.
const answerLimitMs = 30_000;
const askLimitMs = 5_000;

export interface ConsulNodeOptions {
  readonly server: Server;
  readonly name: string;
  readonly isServer: boolean;
  /** The loopback address that all its ports are on. */
  readonly host: string;
  readonly ports: { readonly http: number; readonly rpc: number; readonly serf: number };
  /** Its config and its data; gone with this process. */
  readonly folder: string;
  /** `host:port` of the servers' gossip. */
  readonly peers: readonly string[];
  /** The secret of the token by which agents tell of themselves. */
  readonly agentSecret: string;
}

export interface NodeRequest {
  readonly method?: "GET" | "PUT" | "DELETE";
  readonly token?: string;
  readonly body?: unknown;
}

export interface NodeAnswer {
  readonly status: number;
  readonly text: string;
}

export class ConsulNode {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Base URL of its HTTP API. Stays the same across restarts. */
  readonly address: string;
  /** The secret of the token by which it tells of itself. */
  readonly agentSecret: string;
  readonly #options: ConsulNodeOptions;
  readonly #id = randomUUID();
  #process: ServerProcess | undefined;

  constructor(options: ConsulNodeOptions) {
    this.#options = options;
    this.name = options.name;
    this.host = options.host;
    this.agentSecret = options.agentSecret;
    this.port = options.ports.http;
    this.address = `http://${this.host}:${this.port}`;
  }

  /** What it printed last. */
  output(): string {
    return this.#process?.output() ?? "";
  }

  isRunning(): boolean {
    return this.#process !== undefined && !this.#process.exited();
  }

  /** Sends `signal`. Resolves when the process has ended; for SIGSTOP and SIGCONT, at once. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    await this.#process?.kill(signal);
  }

  /**
   * Starts it, again if it ran or runs, as the same member on the same ports; resolves when its HTTP API answers.
   *
   * @param options.wipe - Without all that it had on disk. Default false.
   */
  async restart({ wipe = false }: { readonly wipe?: boolean } = {}): Promise<void> {
    const { server, folder, name } = this.#options;
    await this.kill("SIGKILL");
    const dataFolder = join(folder, name);
    if (wipe) await rm(dataFolder, { recursive: true, force: true, maxRetries: 5 });
    await mkdir(dataFolder, { recursive: true });
    const configPath = join(folder, `${name}.json`);
    await writeFile(configPath, JSON.stringify(this.#config(dataFolder)));
    const started = await startServerProcess(server, ["agent", "-config-file", configPath], folder);
    this.#process = started;
    await until(
      async () => {
        if (started.exited()) throw new Error(`${name} has ended; it printed:\n${started.output()}`);
        return (await this.ask("/v1/status/leader").catch(() => undefined)) !== undefined;
      },
      () => `${name} answers; it printed:\n${started.output()}`,
      answerLimitMs,
    );
  }

  /** @throws When no answer comes within 5 s. */
  async ask(path: string, { method = "GET", token, body }: NodeRequest = {}): Promise<NodeAnswer> {
    const response = await fetch(`${this.address}${path}`, {
      method,
      headers: token === undefined ? {} : { "x-consul-token": token },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(askLimitMs),
    });
    return { status: response.status, text: await response.text() };
  }

  #config(dataFolder: string): Record<string, unknown> {
    const { name, isServer, host, ports, peers, agentSecret } = this.#options;
    return {
      ...(isServer ? { server: true, bootstrap_expect: 3, performance: { raft_multiplier: 1 } } : {}),
      // One that was killed is to come back, not to be taken out of the cluster.
      ...(isServer ? { autopilot: { cleanup_dead_servers: false } } : {}),
      node_name: name,
      node_id: this.#id,
      bind_addr: host,
      client_addr: host,
      ports: { http: ports.http, server: ports.rpc, serf_lan: ports.serf, serf_wan: -1, dns: -1, grpc: -1 },
      data_dir: dataFolder,
      retry_join: peers,
      retry_interval: "500ms",
      log_level: "warn",
      // It must never ask the internet for a newer version of itself.
      disable_update_check: true,
      acl: {
        enabled: true,
        default_policy: "deny",
        tokens: { agent: agentSecret },
        // What an agent remembers of tokens: not the thirty seconds of its default, in which a revoked one still works.
        token_ttl: "1s",
        policy_ttl: "1s",
      },
    };
  }
}
