import { createHash } from "node:crypto";
import { type GatewayDocument, gatewayModuleOf } from "@plinth/gateway";
import { coreModule, createApp } from "@plinth/kernel";
import { apiKey } from "./api-key.ts";
import { sharedRegistry } from "./shared-registry.ts";

const adasKey = createHash("sha256").update("open-sesame").digest("hex");

/** A gateway whose routes to `notes` need a key, but for the one that says whether it is there. */
export function createKeyedGateway(port: number) {
  const document: GatewayDocument = {
    plugins: { "api-key": { keys: { [adasKey]: "ada" } } },
    routes: [
      { name: "notes", match: { path: "/notes" }, service: "notes", anonymous: true },
      { name: "health", match: { path: "/health" }, service: "notes", anonymous: true, plugins: { "api-key": false } },
    ],
  };
  return createApp({
    name: "keyed-gateway",
    modules: [coreModule, sharedRegistry, gatewayModuleOf(document, { plugins: [apiKey] })],
    config: { defaults: { gateway: { port } } },
  });
}
