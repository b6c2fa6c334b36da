import type { Question } from "../harness/question.ts";
import { balancer } from "./balancer.ts";
import { bareForwarding } from "./bare-forwarding.ts";
import { clients } from "./clients.ts";
import { coldStart } from "./cold-start.ts";
import { container } from "./container.ts";
import { database } from "./database.ts";
import { emptyApp } from "./empty-app.ts";
import { errorBus } from "./error-bus.ts";
import { gatewayConnections } from "./gateway-connections.ts";
import { gatewayDownloads } from "./gateway-downloads.ts";
import { gatewayEverything } from "./gateway-everything.ts";
import { gatewayMemory } from "./gateway-memory.ts";
import { gatewayParts } from "./gateway-parts.ts";
import { gatewayUploads } from "./gateway-uploads.ts";
import { gatewayWorkers } from "./gateway-workers.ts";
import { grpcServer } from "./grpc-server.ts";
import { httpServer } from "./http-server.ts";
import { metrics } from "./metrics.ts";
import { registry } from "./registry.ts";
import { routeTable } from "./route-table.ts";
import { rpcHttp } from "./rpc-http.ts";
import { testSchema } from "./test-schema.ts";

/** Every question, in the order `--list` names them. */
export const questions: readonly Question[] = [
  bareForwarding,
  gatewayConnections,
  gatewayDownloads,
  gatewayUploads,
  gatewayEverything,
  gatewayParts,
  gatewayWorkers,
  gatewayMemory,
  httpServer,
  rpcHttp,
  grpcServer,
  clients,
  coldStart,
  container,
  emptyApp,
  errorBus,
  metrics,
  database,
  balancer,
  routeTable,
  registry,
  testSchema,
];
