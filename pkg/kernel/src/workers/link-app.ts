import { AppLink, type AppLinkOptions } from "./app-link.ts";
import { workerIdentity } from "./identity.ts";
import { linkOver, type PrimaryLink } from "./link-over.ts";
import { portOver } from "./primary-port.ts";

/** Links an app of this process with the primary; undefined when the process is no worker. */
export function linkApp(options: Omit<AppLinkOptions, "identity" | "port">): AppLink | undefined {
  const identity = workerIdentity(process.env);
  return identity && new AppLink({ ...options, identity, port: portOver(process) });
}

/** The way of this process to its primary; undefined when it is no worker. */
export function linkToPrimary(): PrimaryLink | undefined {
  const identity = workerIdentity(process.env);
  return identity && linkOver(portOver(process), identity.worker);
}
