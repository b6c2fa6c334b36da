import { availableParallelism } from "node:os";
import { ConfigError, readConfigFile } from "@plinth/kernel";
import { workersSchema } from "../config/schema-workers.ts";
import { GatewayConfigError } from "../errors.ts";

export interface GatewayWorkersOptions {
  /** Variables of the process: `PLINTH_GATEWAY_WORKERS` and, where `routes` is absent, `PLINTH_GATEWAY_ROUTES`. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Place of the document, as the setting `gateway.routes` has it. One in Consul is not asked: its `workers` has no effect. */
  readonly routes?: string | undefined;
  /** What `auto` means. Default: `availableParallelism()`. */
  readonly processors?: number;
}

/**
 * How many workers are to run, before anything else of the config is read: what the variable says, else the document's `workers`, else 1.
 * A file that cannot be read says nothing here: the start tells its faults.
 *
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` when what is said is no number from 1 to 1_024, and not `auto`.
 */
export function gatewayWorkersOf({ environment, routes, processors }: GatewayWorkersOptions): number {
  const text = environment.PLINTH_GATEWAY_WORKERS;
  const place = routes ?? environment.PLINTH_GATEWAY_ROUTES;
  const given = text === undefined || text === "" ? inDocument(place) : /^\d+$/.test(text) ? Number(text) : text;
  if (given === undefined) return 1;
  const parsed = workersSchema.safeParse(given);
  if (!parsed.success) {
    const problem = `expected auto or a whole number from 1 to 1024, got ${JSON.stringify(given)}`;
    throw new GatewayConfigError([
      { key: "workers", problem, source: text === undefined ? (place ?? "") : "PLINTH_GATEWAY_WORKERS" },
    ]);
  }
  return parsed.data === "auto" ? Math.min(1_024, processors ?? availableParallelism()) : parsed.data;
}

function inDocument(place: string | undefined): unknown {
  if (place === undefined || place.startsWith("consul:")) return undefined;
  try {
    const { data } = readConfigFile(place, { namedBy: "gateway.routes" });
    return typeof data === "object" && data !== null && "workers" in data ? data.workers : undefined;
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}
