import { messageOf } from "@plinth/kernel";
import type { RegistryListener } from "./registry.ts";

/** The same listener, but one whose exceptions end no heartbeat and no watch. */
export function guardListener(listener: RegistryListener): RegistryListener {
  return (event) => {
    try {
      listener(event);
    } catch (error) {
      const text = `onEvent of the registry threw at ${event.type}: ${messageOf(error)}`;
      process.emitWarning(text, { type: "RegistryWarning", code: "ERR_INTERNAL" });
    }
  };
}
