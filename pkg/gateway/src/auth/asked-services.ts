import type { Clock, ConfigFault } from "@plinth/kernel";
import type { AuthClient } from "@plinth/services";
import type { ParsedDocument } from "../config/schema.ts";
import { GatewayConfigError } from "../errors.ts";
import { Introspection } from "./introspection.ts";
import type { PermissionClient } from "./permission.ts";
import type { AuthServices } from "./remote-auth.ts";

/** Clients of the services that a gateway asks about its callers. */
export interface AuthClients {
  /** For routes with `auth.introspect`. */
  readonly auth?: Pick<AuthClient, "introspect"> | undefined;
  /** For routes with `auth.authorize`. */
  readonly authz?: PermissionClient | undefined;
}

/** Gives each document the services that its routes ask; what was said of tokens outlives a reload that leaves its rules as they were. */
export class AskedServices {
  readonly #clients: AuthClients;
  readonly #clock: Clock;
  #last: AuthServices | undefined;
  #lastRules = "";

  constructor(clients: AuthClients, clock: Clock) {
    this.#clients = clients;
    this.#clock = clock;
  }

  /** @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` when a route asks a service that there is no client of. */
  of({ authServices: config, routes }: ParsedDocument): AuthServices {
    const { auth: client, authz } = this.#clients;
    const faults = routes.flatMap(({ auth }, index) => [
      ...(auth?.introspect && !client ? [missing(index, "introspect", "Auth")] : []),
      ...(auth?.authorize && !authz ? [missing(index, "authorize", "Authz")] : []),
    ]);
    if (faults.length > 0) throw new GatewayConfigError(faults);
    const rules = JSON.stringify(config);
    if (!this.#last || rules !== this.#lastRules) {
      this.#last = {
        config,
        authz,
        introspection: client && new Introspection({ client, clock: this.#clock, config }),
      };
      this.#lastRules = rules;
    }
    return this.#last;
  }
}

function missing(route: number, key: string, service: string): ConfigFault {
  const problem = `asks ${service}, of which this gateway has no client; give it \`authClients\`, or its app \`gatewayServicesModule\``;
  return { key: `routes.${route}.auth.${key}`, problem, source: "the document" };
}
