export { registrySuite, type RegistryWorld } from "./suite.ts";
export {
  ScriptedAgent,
  type ScriptedAnswer,
  scriptedEntry,
  type ScriptedRequest,
  type Script,
} from "./scripted-agent.ts";
export { waitForSet, type WaitForSetOptions } from "./wait-for-set.ts";
