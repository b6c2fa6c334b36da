import type { Clock } from "../clock.ts";
import type { Environment } from "../config/load.ts";
import type { EarlyLogger } from "../logger/early-logger.ts";
import type { LogDestination } from "../logger/pino.ts";
import type { ErrorOrigin } from "../errors/error-bus.ts";
import type { AppEvents } from "./events.ts";
import type { RequestScopes } from "./request-scope.ts";
import type { ProcessErrors } from "./runnable.ts";
import { token } from "./token.ts";

/** Who this app is. */
export interface AppInfo {
  readonly name: string;
  readonly version: string;
  /** Unique for each start of the process. */
  readonly instanceId: string;
  readonly logDestination: LogDestination | undefined;
  /** The variables that the config was read from. */
  readonly environment: Environment;
}

export interface AppControl {
  /** Reports a fatal error and stops the app in order; its exit code is 1. */
  fail(error: unknown, origin?: ErrorOrigin): void;
}

/** How the error bus of an app takes the errors of the process. */
export interface AppProcess {
  /** Returns how to end it. */
  attach(errors: ProcessErrors): () => void;
}

/** Every app provides these itself. */
export const appInfo = token("app.info").of<AppInfo>();
export const appEvents = token("app.events").of<AppEvents>();
export const appControl = token("app.control").of<AppControl>();
export const clock = token("app.clock").of<Clock>();
/** The log before there is a logger, which takes it over. */
export const appLog = token("app.log").of<EarlyLogger>();
export const appProcess = token("app.process").of<AppProcess>();
export const requestScopes = token("app.scopes").of<RequestScopes>();
