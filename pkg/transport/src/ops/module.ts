import { createServer, type Server } from "node:http";
import { defineModule, defineSettings, health, logger, metrics, provider, token } from "@plinth/kernel";
import { z } from "zod";
import { listen } from "../listen.ts";
import { createOpsHandler, type OpsHandler } from "./handler.ts";

export const opsSettings = defineSettings(
  "ops",
  z.strictObject({
    host: z.string().min(1).default("127.0.0.1").meta({ description: "Address that the ops listener binds." }),
    port: z.number().int().min(0).max(65_535).optional().meta({
      description:
        "Port of a listener for /healthz, /ready and /metrics alone; 0 takes a free one. Absent: they are on the HTTP server.",
    }),
  }),
);

export const opsHandler = token("ops.handler").of<OpsHandler>();

/** The listener of its own, when `ops.port` is set. */
export interface OpsListener {
  /** Undefined when there is no such listener. */
  readonly port: number | undefined;
  close(): Promise<void>;
}

export const opsListener = token("ops.listener").of<OpsListener>();

const provideOpsHandler = provider({
  provides: opsHandler,
  needs: { health, metrics },
  ground: true,
  create: createOpsHandler,
});

/** Opens first and closes last: it answers while everything else starts and drains. */
const provideOpsListener = provider({
  provides: opsListener,
  needs: { handler: opsHandler, settings: opsSettings, log: logger },
  ground: true,
  create: async ({ handler, settings, log }) => {
    const { host, port } = settings;
    if (port === undefined) return { port: undefined, close: async () => {} };
    const server = createServer((request, response) => {
      if (!handler(request, response)) response.writeHead(404, { "content-length": 0 }).end();
    });
    const bound = await listen(server, { host, port, variable: "PLINTH_OPS_PORT" });
    log.info("ops endpoints listen", { host, port: bound });
    return { port: bound, close: () => closeServer(server) };
  },
  stop: (listener) => listener.close(),
});

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.close((error) => (error ? reject(error) : resolve()));
    server.closeAllConnections(); // a scrape under way is the only thing to lose
  });
}

export const opsModule = defineModule("ops", [provideOpsHandler, provideOpsListener]);
