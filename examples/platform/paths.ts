import { join } from "node:path";

/** What the platform keeps between runs: the development key and the embedded database. */
export const stateDir = join(import.meta.dirname, "../../.cache/platform");
export const keyPath = join(stateDir, "issuer-key.json");
export const routesPath = join(import.meta.dirname, "gateway.yaml");
