// A fleet on a Consul cluster with ACLs on: each program with the token that its part needs, and no more.
import { asRecord } from "./json.ts";
import { type ConsulCluster, startConsulCluster } from "./consul-cluster.ts";
import type { ConsulNode } from "./consul-node.ts";
import { type Fleet, type FleetOptions, startFleet } from "./fleet.ts";
import { until } from "./until.ts";

/** What a service needs that is registered, and a gateway that finds it. */
export const fleetRules =
  'service "counted" { policy = "write" } service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }';

export interface ConsulFleet extends AsyncDisposable {
  readonly cluster: ConsulCluster;
  readonly fleet: Fleet;
  /** What its programs ask with may do this from now on, and no more. */
  setRules(rules: string): Promise<void>;
  /** Ids of the service's instances in the catalogue, with what their checks say together: `passing`, `warning` or `critical`. */
  listed(): Promise<Readonly<Record<string, string>>>;
  /** Ids of the instances that an agent has. */
  heldBy(node: ConsulNode): Promise<readonly string[]>;
  /** Waits until the catalogue lists so many, all passing. */
  untilPassing(count: number, limitMs?: number): Promise<void>;
}

/** @param options.via - Where the programs find their agent. Default: the cluster's first client agent itself. */
export async function startConsulFleet({
  agents,
  via = ({ agent }) => agent.address,
  environment,
  ...options
}: Omit<FleetOptions, "environment"> & {
  readonly agents?: number;
  readonly via?: (cluster: ConsulCluster) => string;
  readonly environment?: Readonly<Record<string, string>>;
} = {}): Promise<ConsulFleet> {
  const cluster = await startConsulCluster(agents === undefined ? {} : { agents });
  try {
    const token = await cluster.createToken(fleetRules);
    const fleet = await startFleet({
      ...options,
      environment: { PLINTH_CONSUL_ADDR: via(cluster), PLINTH_CONSUL_TOKEN: token.secret, ...environment },
    });
    return {
      cluster,
      fleet,
      setRules: (rules) => cluster.setRules(token, rules),
      ...readerOf(cluster),
      [Symbol.asyncDispose]: () => disposeBoth(fleet, cluster),
    };
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

async function disposeBoth(fleet: Fleet, cluster: ConsulCluster): Promise<void> {
  await fleet[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
}

export function readerOf(cluster: ConsulCluster): Pick<ConsulFleet, "listed" | "heldBy" | "untilPassing"> {
  const listed = async (): Promise<Record<string, string>> => {
    const node = cluster.servers.find((server) => server.isRunning()) ?? cluster.agent;
    const entries = await cluster.ask(node, "/v1/health/service/counted?stale");
    if (!Array.isArray(entries)) throw new Error(`no list: ${JSON.stringify(entries)}`);
    return Object.fromEntries(
      entries.map((entry) => [String(asRecord(asRecord(entry)["Service"])["ID"]), statusOf(asRecord(entry)["Checks"])]),
    );
  };
  return {
    listed,
    async heldBy(node) {
      const services = Object.values(asRecord(await cluster.ask(node, "/v1/agent/services"))).map(asRecord);
      return services.filter((service) => service["Service"] === "counted").map((service) => String(service["ID"]));
    },
    async untilPassing(count, limitMs = 30_000) {
      let seen: Record<string, string> = {};
      await until(
        async () => {
          seen = await listed().catch(() => ({}));
          const states = Object.values(seen);
          return states.length === count && states.every((state) => state === "passing");
        },
        () => `${count} passing instances; the catalogue has ${JSON.stringify(seen)}`,
        limitMs,
      );
    },
  };
}

function statusOf(checks: unknown): string {
  const states = Array.isArray(checks) ? checks.map((check) => String(asRecord(check)["Status"])) : [];
  return ["critical", "warning"].find((state) => states.includes(state)) ?? "passing";
}
