import { z } from "zod";
import { OriginList } from "../server/origin-list.ts";
import { origin } from "./schema-edge.ts";

/** A route that takes upgrades to WebSocket. */
export const webSocketSchema = z
  .union([
    z.boolean(),
    z.strictObject({
      idleTimeoutMs: z.int().min(1).max(86_400_000).default(300_000).meta({
        description: "How long nothing may come from either side before the gateway closes it, in ms; pings count.",
      }),
      maxConnections: z.int().min(1).max(1_000_000).default(10_000).meta({
        description: "How many of the route may be open at one time in this process.",
      }),
      origins: z.array(origin).min(1).max(256).optional().meta({
        description:
          "Origins whose pages may open one; `https://*.shop.example` is all below, `*` every one. A browser always says the origin, and asks nobody before it connects: where cookies let a caller in, name them. Who says none is no browser, and is not held to it. Default: every one.",
      }),
    }),
  ])
  .optional()
  .meta({
    description:
      "Whether clients may open a WebSocket; `true` is `{}` with its defaults. Until the instance agrees `timeoutMs` counts, after that `idleTimeoutMs` alone. Default: not.",
  });

export type WebSocketConfig = z.output<typeof webSocketSchema>;

/** What a WebSocket of a route may do. */
export interface WebSocketLimits {
  readonly idleTimeoutMs: number;
  readonly maxConnections: number;
  /** Undefined: pages of every origin. */
  readonly origins?: OriginList | undefined;
}

/** @returns Undefined for a route that takes none. */
export function toWebSocketLimits(config: WebSocketConfig): WebSocketLimits | undefined {
  if (config === false || config === undefined) return undefined;
  return config === true
    ? { idleTimeoutMs: 300_000, maxConnections: 10_000 }
    : { ...config, origins: config.origins && new OriginList(config.origins) };
}

/** What is wrong with `websocket` of a route; undefined when nothing is. */
export function webSocketProblem(config: WebSocketConfig, methods: readonly string[] | undefined): string | undefined {
  if (!config || methods === undefined || methods.includes("GET")) return undefined;
  return "a WebSocket is asked for by GET, which is not among match.methods";
}
