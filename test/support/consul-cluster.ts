// A real Consul cluster with ACLs on: three servers and client agents, each on a loopback address of its own, for as long as a test needs it.
import { randomInt, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findFreePorts, findServer } from "../../scripts/servers/index.ts";
import { ConsulNode, type NodeRequest } from "./consul-node.ts";
import { asRecord } from "./json.ts";
import { until } from "./until.ts";

const serverCount = 3;
const leaderLimitMs = 60_000;

export interface ConsulToken {
  readonly secret: string;
  readonly accessor: string;
  /** Name and id of the policy that holds its rules. */
  readonly policy: { readonly name: string; readonly id: string };
}

export interface ConsulCluster extends AsyncDisposable {
  readonly servers: readonly ConsulNode[];
  /** Client agents: an app asks the one of its own machine. */
  readonly agents: readonly ConsulNode[];
  /** The first of them. */
  readonly agent: ConsulNode;
  /** Asks `node`, with the token that may do everything unless another is given. @throws When the answer is no 2xx. */
  ask(node: ConsulNode, path: string, request?: NodeRequest): Promise<unknown>;
  /** A token that may do what `rules` say. @see https://developer.hashicorp.com/consul/docs/security/acl/acl-rules */
  createToken(rules: string): Promise<ConsulToken>;
  /** From then on it may do what these rules say, and no more; an agent may remember others for a second. */
  setRules(token: ConsulToken, rules: string): Promise<void>;
  /** From then on it is refused; an agent may remember it for a second. */
  revoke(token: ConsulToken): Promise<void>;
  /** Waits until a leader takes writes. */
  untilLed(): Promise<ConsulNode>;
}

/**
 * Starts it: led, and with every agent in the catalogue, when it resolves. It ends with this process in any case, even one that is
 * killed, and leaves no file.
 *
 * @param options.agents - Client agents, 1 or more. Default 1.
 * @throws {@link ServerError} `ERR_SERVER_MISSING` when no Consul can be had; an error with what the nodes printed when it does not come up.
 */
export async function startConsulCluster({ agents = 1 }: { readonly agents?: number } = {}): Promise<ConsulCluster> {
  const folder = await mkdtemp(join(tmpdir(), "plinth-cluster-"));
  const nodes = await makeNodes(folder, serverCount + agents);
  const cluster = new Cluster(folder, nodes.slice(0, serverCount), nodes.slice(serverCount));
  try {
    await cluster.start();
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

async function makeNodes(folder: string, count: number): Promise<readonly ConsulNode[]> {
  const server = await findServer("consul");
  const agentSecret = randomUUID();
  // Clusters that run at the same time must not meet.
  const network = `127.${randomInt(16, 240)}.${randomInt(1, 255)}`;
  const places = await Promise.all(
    Array.from({ length: count }, async (_, at) => {
      const host = `${network}.${10 + at}`;
      const [http = 0, rpc = 0, serf = 0] = await findFreePorts(3, host);
      return { host, ports: { http, rpc, serf } };
    }),
  );
  const peers = places.slice(0, serverCount).map(({ host, ports }) => `${host}:${ports.serf}`);
  return places.map(({ host, ports }, at) => {
    const isServer = at < serverCount;
    const name = isServer ? `server-${at + 1}` : `agent-${at - serverCount + 1}`;
    return new ConsulNode({ server, name, isServer, host, ports, folder, peers, agentSecret });
  });
}

class Cluster implements ConsulCluster {
  readonly servers: readonly ConsulNode[];
  readonly agents: readonly ConsulNode[];
  readonly agent: ConsulNode;
  readonly #folder: string;
  #management = "";

  constructor(folder: string, servers: readonly ConsulNode[], agents: readonly ConsulNode[]) {
    const [agent] = agents;
    if (agent === undefined) throw new Error("a cluster has one client agent or more");
    this.#folder = folder;
    this.servers = servers;
    this.agents = agents;
    this.agent = agent;
  }

  async start(): Promise<void> {
    await Promise.all(this.servers.map((node) => node.restart()));
    await this.#bootstrap();
    const agentSecret = this.agent.agentSecret;
    await this.#createToken('node_prefix "" { policy = "write" } service_prefix "" { policy = "read" }', agentSecret);
    await Promise.all(this.agents.map((node) => node.restart()));
    for (const { name } of this.agents) {
      const isKnown = async (): Promise<boolean> => {
        const led = await this.untilLed();
        const answer = await this.ask(led, `/v1/health/node/${name}`);
        return Array.isArray(answer) && answer.some((check) => asRecord(check)["Status"] === "passing");
      };
      await until(isKnown, () => `${name} is in the catalogue; ${this.#outputs()}`, leaderLimitMs);
    }
  }

  async ask(node: ConsulNode, path: string, request: NodeRequest = {}): Promise<unknown> {
    const { status, text } = await node.ask(path, { token: this.#management, ...request });
    if (status < 200 || status > 299) throw new Error(`${node.name} answered ${path} with ${status}: ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }

  createToken(rules: string): Promise<ConsulToken> {
    return this.#createToken(rules, randomUUID());
  }

  async setRules({ policy }: ConsulToken, rules: string): Promise<void> {
    const body = { ID: policy.id, Name: policy.name, Rules: rules };
    await this.ask(await this.untilLed(), `/v1/acl/policy/${policy.id}`, { method: "PUT", body });
  }

  async revoke({ accessor }: ConsulToken): Promise<void> {
    await this.ask(await this.untilLed(), `/v1/acl/token/${accessor}`, { method: "DELETE" });
  }

  async untilLed(): Promise<ConsulNode> {
    let led: ConsulNode | undefined;
    await until(
      async () => {
        for (const node of this.servers) {
          if (!node.isRunning()) continue;
          // A write, since who was leader goes on being named for a while.
          const taken = await node
            .ask("/v1/kv/led", { method: "PUT", token: this.#management, body: 1 })
            .catch(() => undefined);
          // Nobody has the token yet while the cluster begins: refused, so led.
          if (taken?.status === 200 || (this.#management === "" && taken?.status === 403)) {
            const leader = await node.ask("/v1/status/leader").catch(() => undefined);
            led = this.servers.find(({ host }) => leader?.text.includes(`"${host}:`));
          }
          if (led) return true;
        }
        return false;
      },
      () => `a leader; ${this.#outputs()}`,
      leaderLimitMs,
    );
    if (led === undefined) throw new Error("no leader");
    return led;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.servers, ...this.agents].map((node) => node.kill("SIGKILL")));
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** The first token, which may do everything; given once there is a leader and it has taken up ACLs. */
  async #bootstrap(): Promise<void> {
    let answer = "nothing";
    await until(
      async () => {
        for (const node of this.servers) {
          const given = await node.ask("/v1/acl/bootstrap", { method: "PUT" }).catch(() => undefined);
          answer = given?.text ?? answer;
          if (given?.status !== 200) continue;
          this.#management = String(asRecord(JSON.parse(given.text))["SecretID"]);
          return true;
        }
        return false;
      },
      () => `the first token; last answer: ${answer}; ${this.#outputs()}`,
      leaderLimitMs,
    );
  }

  async #createToken(rules: string, secret: string): Promise<ConsulToken> {
    const led = await this.untilLed();
    const name = `policy-${randomUUID()}`;
    const made = await this.ask(led, "/v1/acl/policy", { method: "PUT", body: { Name: name, Rules: rules } });
    const body = { SecretID: secret, Policies: [{ Name: name }] };
    const token = asRecord(await this.ask(led, "/v1/acl/token", { method: "PUT", body }));
    return { secret, accessor: String(token["AccessorID"]), policy: { name, id: String(asRecord(made)["ID"]) } };
  }

  #outputs(): string {
    return [...this.servers, ...this.agents].map((node) => `${node.name}:\n${node.output().slice(-1_500)}`).join("\n");
  }
}
