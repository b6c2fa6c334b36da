import { coreModule, createApp } from "@plinth/kernel";
import { gateway, gatewayModule, gatewayOpsModule } from "@plinth/gateway";
import { telemetryModule } from "@plinth/telemetry";
import { opsListener, opsModule } from "@plinth/transport";
import { issuerPort } from "../issuer/app.ts";
import { issuer } from "../issuer/keys.ts";
import type { AppFactory } from "../platform.ts";
import { reporterModules } from "../reporters.ts";

/** The door to the platform: what `plinth-gateway` is made of, and the reporters. */
export const createGateway: AppFactory = ({ environment, registryModule, config, routesPath }) => {
  const keysPort = environment.PLINTH_ISSUER_PORT || issuerPort;
  const app = createApp({
    name: "gateway",
    modules: [
      coreModule,
      telemetryModule,
      opsModule,
      registryModule,
      ...reporterModules,
      gatewayModule,
      gatewayOpsModule,
    ],
    expose: [opsListener],
    config: {
      environment,
      defaults: {
        ...config,
        ops: { port: 8_081 },
        gateway: {
          routes: routesPath,
          http2: { cleartext: true }, // there is no TLS here, by which clients would agree on it
          jwksUrls: { [issuer.name]: `http://127.0.0.1:${keysPort}/.well-known/jwks.json` },
        },
        telemetry: { trustCallerSampling: "never" },
      },
    },
  });
  return {
    app,
    addresses: () => {
      const ops = `http://127.0.0.1:${app.get(opsListener).port}`;
      return [
        { what: "gateway", url: `http://127.0.0.1:${app.get(gateway).port}` },
        { what: "gateway's ops", url: `${ops}/healthz ${ops}/ready ${ops}/metrics` },
      ];
    },
  };
};
