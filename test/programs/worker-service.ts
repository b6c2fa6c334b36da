// A service that runs in several processes on one port, for the test of that. WORKERS says how many; TROUBLE what goes wrong.
import { once } from "node:events";
import { coreModule, createApp, defineModule, provider, token, type WorkersOptions } from "@plinth/kernel";
import { registryModule } from "@plinth/registry";
import { grpcModule, httpModule, httpRoutes, httpServer } from "@plinth/transport";

const { WORKERS = "3", SCRAPE_MS = "1000", TROUBLE = "", PLINTH_GRPC_PORT } = process.env;

const say = (line: object): void => void process.stdout.write(`${JSON.stringify({ pid: process.pid, ...line })}\n`);

const workModule = defineModule("work", [
  provider({
    provides: httpRoutes,
    create: () => (app) => {
      app.get("/work", () => ({ pid: process.pid }));
      app.get("/slow", async () => {
        await new Promise((resolve) => void setTimeout(resolve, 300));
        return { pid: process.pid };
      });
    },
  }),
  provider({
    provides: token("trouble").of<string>(),
    create: () => TROUBLE,
    start: async (trouble, { signal }) => {
      if (trouble === "start") throw new Error("no such bucket");
      if (trouble === "slow start") {
        say({ event: "starting" });
        await once(signal, "abort");
        signal.throwIfAborted();
      }
      if (trouble === "garbage") sendGarbage();
    },
    stop: () => say({ event: "stopped" }),
  }),
]);

/** What no worker should send: a primary must not mind. */
function sendGarbage(): void {
  const protocol = "plinth.workers/1";
  const messages: unknown[] = [
    "hello",
    null,
    { protocol },
    { protocol, type: "nothing that there is" },
    { protocol: "plinth.workers/99", type: "ready" },
    { protocol, type: "app", app: 7, stopMs: "long" },
    { protocol, type: "snapshot", app: "working", text: "{" },
    { protocol, type: "snapshot", app: "working", text: '{"families":[{"name":1}]}' },
    { protocol, type: "snapshot", app: "an app that there is not", text: "{}" },
    { protocol, type: "ended", code: -1, told: [] },
  ];
  for (const message of messages) process.send?.(message);
}

process.on("exit", (code) => say({ event: "exited", code }));

const app = createApp({
  name: "working",
  modules: [
    coreModule,
    registryModule,
    httpModule,
    workModule,
    PLINTH_GRPC_PORT === undefined ? defineModule("no-grpc", []) : grpcModule,
  ],
});
const workers: WorkersOptions = { count: Number(WORKERS), maxFailedStarts: 3, scrapeMs: Number(SCRAPE_MS) };
process.exitCode = await app.run({ workers, onReady: () => say({ event: "ready", port: app.get(httpServer).port }) });
