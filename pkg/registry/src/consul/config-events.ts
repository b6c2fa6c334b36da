import { type AppError, messageOf } from "@plinth/kernel";

/** How the watch of a document fares; `source` is its name, as `consul:config/notes`. */
export type ConsulConfigEvent =
  /** It goes on by itself; what changes meanwhile is told when it has recovered. */
  | {
      readonly type: "watch_failed";
      readonly source: string;
      readonly error: AppError;
      /** In a row, so 1 is when it begins. */
      readonly failures: number;
    }
  | { readonly type: "watch_recovered"; readonly source: string; readonly failedForMs: number }
  /** The index went backwards, as after a restart of the agent. */
  | { readonly type: "watch_reset"; readonly source: string; readonly index: number; readonly previous: number };

export type ConsulConfigListener = (event: ConsulConfigEvent) => void;

/** For those who listen to nothing: a config that no longer follows its source must not go unnoticed. */
export const warnOfFailure: ConsulConfigListener = (event) => {
  if (event.type === "watch_failed" && event.failures === 1) {
    warn(`the watch of ${event.source} fails, and goes on trying: ${event.error.message}`, event.error.code);
  }
};

/** The same listener, but one whose exceptions end nothing. */
export function guardListener(listener: ConsulConfigListener): ConsulConfigListener {
  return (event) => {
    try {
      listener(event);
    } catch (error) {
      warn(`onEvent threw at ${event.type} of ${event.source}: ${messageOf(error)}`, "ERR_INTERNAL");
    }
  };
}

function warn(text: string, code: string): void {
  process.emitWarning(text, { type: "ConsulConfigWarning", code });
}
