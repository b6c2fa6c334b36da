import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { GatewayDocument } from "@plinth/gateway";
import { findFreePorts } from "../../../scripts/servers/index.ts";
import type { Lab, Running } from "../../harness/lab.ts";

const program = join(import.meta.dirname, "../../../cmd/gateway/src/main.ts");

export const bareRoute = { name: "item", match: { path: "/item" }, service: "origin", anonymous: true } as const;

export interface PlinthLaunch {
  readonly originPort: number;
  /** Routes to the service `origin`. Default: one without token and limit. */
  readonly document?: GatewayDocument;
  /** Settings besides. Default: no access log. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface RunningGateway extends Running {
  /** The file of its document: what is written there is taken over. */
  readonly document: string;
  /** The file of its log. */
  readonly log: string;
}

/** The text of a document with the origin in it. */
export function documentText(document: GatewayDocument, originPort: number): string {
  return JSON.stringify({ ...document, services: { origin: { static: [`127.0.0.1:${originPort}`] } } }); // JSON is YAML
}

/** Starts `plinth-gateway`, with its log in a file, as a collector of logs would have it. */
export async function startPlinth(
  lab: Lab,
  { originPort, document = { routes: [bareRoute] }, env = { PLINTH_GATEWAY_ACCESS_LOG: "false" } }: PlinthLaunch,
): Promise<RunningGateway> {
  const directory = await lab.directory();
  const [port = 0, opsPort = 0] = await findFreePorts(2);
  const file = join(directory, "gateway.yaml");
  const log = join(directory, "gateway.log");
  await writeFile(file, documentText(document, originPort));
  const running = await lab.server({
    name: "plinth-gateway",
    bin: process.execPath,
    args: ["--conditions=plinth-source", program, "--config", file],
    env: { PLINTH_GATEWAY_PORT: String(port), PLINTH_OPS_PORT: String(opsPort), ...env },
    port,
    stdoutFile: log,
  });
  return { ...running, document: file, log };
}
