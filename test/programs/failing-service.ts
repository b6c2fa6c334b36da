// A service that fails in every way that an error can take, run as a program by the test of that.
import { EventEmitter } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { Readable } from "node:stream";
import { coreModule, createApp, defineModule, errorBus, errorReporters, provider } from "@plinth/kernel";
import { httpModule, httpRoutes, httpServer } from "@plinth/transport";

/** Nothing of this may reach a caller. */
const secret = "password=hunter2";

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const fail = (where: string): never => {
  throw new TypeError(`${where} ${secret}`);
};
/** It has been away since it was first asked for: each request gets the same error. */
const away = Promise.reject(new TypeError(`cached ${secret}`));
away.catch(() => {});

const failingModule = defineModule("failing", [
  provider({
    provides: errorReporters,
    create: () => ({
      name: "told",
      report: (reports) => {
        for (const { error, origin, handled, traceId, requestId, count } of reports) {
          const stack = error.cause instanceof Error ? error.cause.stack : error.stack;
          say({ reported: error.message, origin, handled, traceId, requestId, count, stack });
        }
      },
    }),
  }),
  provider({
    provides: httpRoutes,
    needs: { errors: errorBus },
    create:
      ({ errors }) =>
      (app) => {
        app.get("/handler", () => fail("handler"));
        app.get("/cached", () => away);
        app.get("/timer", () => {
          setTimeout(() => fail("timer"), 1);
          return { ok: true };
        });
        app.get("/listener", () => {
          const events = new EventEmitter().on("saved", () => fail("listener"));
          setImmediate(() => events.emit("saved"));
          return { ok: true };
        });
        app.get("/event", () => {
          const events = new EventEmitter();
          setImmediate(() => events.emit("error", new TypeError(`event ${secret}`)));
          return { ok: true };
        });
        app.get("/rejection", () => {
          void delay(1).then(() => fail("rejection"));
          return { ok: true };
        });
        app.get("/guarded", () => {
          setImmediate(errors.guard("clean", () => fail("guarded")));
          return { ok: true };
        });
        app.get("/headers", async (_request, reply) => {
          reply.hijack();
          reply.raw.writeHead(200, { "content-length": 100 });
          reply.raw.write("part");
          await delay(1);
          fail("headers");
        });
        app.get("/stream", (_request, reply) => {
          async function* chunks(): AsyncGenerator<string> {
            yield "part";
            await delay(1);
            fail("stream");
          }
          return reply.type("text/plain").send(Readable.from(chunks(), { objectMode: false }));
        });
      },
  }),
]);

const app = createApp({
  name: "failing",
  modules: [coreModule, httpModule, failingModule],
  config: { defaults: { http: { port: 0 }, lifecycle: { announceDelayMs: 0 } } },
});
process.exitCode = await app.run({ onReady: () => say({ port: app.get(httpServer).port }) });
