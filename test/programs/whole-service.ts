// A whole service: all that stands between its routes and the world comes from the modules.
import { databaseModule } from "@plinth/database";
import { coreModule, createApp, defineModule } from "@plinth/kernel";
import { registryModule } from "@plinth/registry";
import { telemetryModule } from "@plinth/telemetry";
import { grpcModule, httpModule } from "@plinth/transport";
import { parts } from "./whole-service-parts.ts";

const service = defineModule("service", parts);
const modules = [coreModule, telemetryModule, registryModule, databaseModule, httpModule, grpcModule, service];
process.exitCode = await createApp({ name: "service", modules }).run();
