import { coreModule, createApp, defineModule, provider } from "@plinth/kernel";
import { auditService } from "@plinth/services";
import { fakeAudit } from "@plinth/services/testing";
import { telemetryModule } from "@plinth/telemetry";
import { grpcModule, grpcServer, httpModule, httpServer, rpcServices } from "@plinth/transport";
import type { AppFactory } from "../platform.ts";
import { reporterModules } from "../reporters.ts";

/** What Audit is until somebody builds the real one: the fake, which forgets all when it stops, behind the real contract. */
const auditModule = defineModule("audit", [
  provider({ provides: rpcServices, create: () => auditService(fakeAudit()) }),
]);

/** Keeps what is done elsewhere: recorded over gRPC, and shown to whoever asks, as JSON too. */
export const createAudit: AppFactory = ({ environment, registryModule, config }) => {
  const app = createApp({
    name: "audit",
    version: "1.0.0",
    modules: [coreModule, telemetryModule, registryModule, httpModule, grpcModule, ...reporterModules, auditModule],
    config: { environment, defaults: { ...config, http: { port: 0 }, grpc: { port: 0 } } },
  });
  return {
    app,
    addresses: () => [
      { what: "audit", url: `http://127.0.0.1:${app.get(httpServer).port}` },
      { what: "audit, gRPC", url: `127.0.0.1:${app.get(grpcServer).port}` },
    ],
  };
};
