// What a Consul agent holds, as its HTTP API tells.
import { ask } from "./http.ts";
import { asRecord } from "./json.ts";

export interface RegisteredInstance {
  readonly service: string;
  readonly id: string;
  readonly port: number;
  /** Whether all its checks pass. */
  readonly isPassing: boolean;
}

/** Every instance that the agent at `address` knows, without Consul itself. */
export async function instancesIn(address: string): Promise<readonly RegisteredInstance[]> {
  const [services, checks] = await Promise.all([readList(address, "services"), readList(address, "checks")]);
  return services.map((service) => ({
    service: String(service["Service"]),
    id: String(service["ID"]),
    port: Number(service["Port"]),
    isPassing: checks.every(({ ServiceID, Status }) => ServiceID !== service["ID"] || Status === "passing"),
  }));
}

async function readList(address: string, what: string): Promise<readonly Record<string, unknown>[]> {
  const answer = await ask(`${address}/v1/agent/${what}`);
  if (answer.status !== 200) throw new Error(`${address} answered ${answer.status}: ${answer.text}`);
  return Object.values(asRecord(answer.json())).map(asRecord);
}
