export { registrySuite, type RegistryWorld } from "./suite.ts";
export { waitForSet, type WaitForSetOptions } from "./wait-for-set.ts";
