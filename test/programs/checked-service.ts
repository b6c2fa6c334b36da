// A service with health checks that do as they are told, for the test of probes. Its check `peer` asks a TCP server, PEER_PORT.
import { connect } from "node:net";
import { coreModule, createApp, defineModule, type HealthCheck, healthChecks, provider } from "@plinth/kernel";
import { httpModule, httpRoutes, httpServer, opsListener } from "@plinth/transport";
import { block } from "../support/block.ts";

const { PEER_PORT = "", CHECK_MODE = "pass", CHECK_INTERVAL_MS = "100" } = process.env;
const intervalMs = Number(CHECK_INTERVAL_MS);

const modes: Record<string, string> = { database: CHECK_MODE, mail: CHECK_MODE };
const runs: Record<string, number> = { database: 0, mail: 0, peer: 0 };

/** A check that passes, fails or hangs, heedless of its signal, until it is told otherwise. */
const told = (name: string, critical: boolean): HealthCheck => ({
  name,
  critical,
  intervalMs,
  timeoutMs: 500,
  async run() {
    runs[name] = (runs[name] ?? 0) + 1;
    if (modes[name] === "fail") throw new Error("connect ECONNREFUSED 10.1.2.3:5432");
    while (modes[name] === "hang") await new Promise((resolve) => void setTimeout(resolve, 10));
  },
});

/** Under way nearly all the time; one failure would turn it. */
const peer: HealthCheck = {
  name: "peer",
  intervalMs: 10,
  timeoutMs: 2_000,
  failuresToFlip: 1,
  async run({ signal }) {
    runs["peer"] = (runs["peer"] ?? 0) + 1;
    const socket = connect({ port: Number(PEER_PORT), host: "127.0.0.1", signal });
    for await (const _ of socket) return;
    throw new Error("closed without an answer");
  },
};

const checkedModule = defineModule("checked", [
  provider({ provides: healthChecks, create: () => told("database", true) }),
  provider({ provides: healthChecks, create: () => told("mail", false) }),
  ...(PEER_PORT === "" ? [] : [provider({ provides: healthChecks, create: () => peer })]),
  provider({
    provides: httpRoutes,
    create: () => (app) => {
      app.get("/work", () => ({ ok: true }));
      app.get("/runs", () => runs);
      app.post<{ Params: { name: string; mode: string } }>("/check/:name/:mode", ({ params: { name, mode } }) => {
        modes[name] = mode;
        return modes;
      });
      /** Stands still for so many milliseconds, once the reply has been sent; what falls due meanwhile comes before what is to be read. */
      app.post<{ Params: { ms: string } }>("/stall/:ms", ({ params: { ms } }) => {
        setTimeout(() => setImmediate(block, Number(ms)), 50);
        return {};
      });
    },
  }),
]);

const app = createApp({
  name: "checked",
  modules: [coreModule, httpModule, checkedModule],
  expose: [opsListener],
  config: {
    defaults: {
      http: { port: 0, accessLog: false },
      ops: { port: 0 },
      lifecycle: { announceDelayMs: 0 },
      health: { maxStallMs: 1_000, stallMemoryMs: 3_000 },
    },
  },
});
process.exitCode = await app.run({
  onReady: () => {
    const [http, ops] = [app.get(httpServer).port, app.get(opsListener).port].map((port) => `http://127.0.0.1:${port}`);
    process.stdout.write(`${JSON.stringify({ http, ops })}\n`);
  },
});
