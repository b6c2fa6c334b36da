import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import type { PrimaryLink } from "./link-over.ts";

/** The way to what runs in the primary beside the workers; undefined in a process that is no worker. */
export const primaryLink = token("workers.primary-link").of<PrimaryLink | undefined>();

export const providePrimaryLink = provider({
  provides: primaryLink,
  ground: true,
  create: async () => {
    if (process.env.PLINTH_WORKER === undefined) return undefined;
    const { linkToPrimary } = await import("./link-app.ts"); // which no other process needs
    return linkToPrimary();
  },
});
