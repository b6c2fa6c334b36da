import { appInfo, clock, type ConfigSource, provider, token, tracing } from "@plinth/kernel";
import { consulConfig, consulSettings } from "@plinth/registry";
import { documentFile } from "./config/document-source.ts";
import { GatewayConfigError } from "./errors.ts";
import { gatewaySettings } from "./options.ts";

/** Where the gateway of this app has its document from; undefined where it is written in code. */
export const documentPlace = token("gateway.document").of<ConfigSource | undefined>();

/** The place that the setting `gateway.routes` names. @param isInCode - There is none. */
export const provideDocumentPlace = (isInCode: boolean) =>
  provider({
    provides: documentPlace,
    needs: { settings: gatewaySettings, consul: consulSettings, info: appInfo, clock, tracing },
    create: ({ settings: { routes }, consul, info, ...seams }) => {
      if (isInCode) return undefined;
      if (routes === undefined) throw noPlace();
      const key = /^consul:(.+)$/.exec(routes)?.[1];
      if (key === undefined) return documentFile(routes, seams.clock);
      return consulConfig({
        ...seams,
        ...consul,
        address: consul.addr,
        environment: info.environment,
        key,
        required: true,
      });
    },
  });

function noPlace(): GatewayConfigError {
  const problem =
    "expected the path of the gateway's document, or consul: and a key of Consul's store; set PLINTH_GATEWAY_ROUTES";
  return new GatewayConfigError([{ key: "gateway.routes", problem, source: "default" }]);
}
