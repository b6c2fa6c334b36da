// What a gateway's app adds so that routes can have Auth and Authz asked: an entry of its own, since their clients take time to load.
import { defineModule, provider } from "@plinth/kernel";
import { serviceClients } from "@plinth/services";
import { gatewayAuthClients } from "../module.ts";

/**
 * Gives the gateway of an app the clients of Auth and Authz, for routes with `auth.introspect` and `auth.authorize`. They are the app's own, of
 * `serviceClientsModule` of `@plinth/services`, and are opened when they are first asked.
 *
 * @example createApp({ modules: [coreModule, registryModule, serviceClientsModule, gatewayModule, gatewayServicesModule] })
 */
export const gatewayServicesModule = defineModule("gateway-services", [
  provider({ provides: gatewayAuthClients, needs: { clients: serviceClients }, create: ({ clients }) => clients }),
]);
