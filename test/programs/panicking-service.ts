// A service whose handlers throw, run as a program by the test of that. It prints where it is, and what its error bus reports.
import { Readable } from "node:stream";
import { AppError, coreModule, createApp, defineModule, errorReporters, provider } from "@plinth/kernel";
import { grpcModule, grpcServer, httpModule, httpRoutes, httpServer, rpcService, rpcServices } from "@plinth/transport";
import { GreeterService } from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";

/** Nothing of this may reach a caller. */
const secret = "password=hunter2 at /srv/secret.ts";

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

/** Words that no two errors share, so that each of them is a report of its own. */
const words = function* (): Generator<string, never> {
  for (let number = 0; ; number++)
    yield number.toString().replace(/\d/g, (digit) => "abcdefghij".charAt(Number(digit)));
};
const word = words();

/** What the reporter `failing` does with its reports: nothing is heard of it, or it throws. */
const failures: Readonly<Record<string, () => Promise<void>>> = {
  hang: () => new Promise(() => {}),
  throw: () => {
    throw new Error("the reporter failed");
  },
};

const panickingModule = defineModule("panicking", [
  provider({
    provides: errorReporters,
    create: () => {
      const report = failures[process.env["FAILING_REPORTER"] ?? ""];
      return report && { name: "failing", report };
    },
  }),
  provider({
    provides: errorReporters,
    create: () => ({
      name: "test",
      report: (reports) => {
        for (const { error, origin, handled, traceId, requestId } of reports)
          say({ reported: error.message, code: error.code, origin, handled, traceId, requestId });
      },
    }),
  }),
  provider({
    provides: httpRoutes,
    create: () => (app) => {
      app.get("/throws", () => {
        throw new TypeError(`sync ${secret}`);
      });
      app.get("/rejects", async () => {
        await new Promise(setImmediate);
        throw new TypeError(`late ${secret}`);
      });
      app.get("/throws-text", () => {
        // oxlint-disable-next-line typescript/only-throw-error -- a handler's author may do this, and the server must live
        throw `text ${secret}`;
      });
      app.get("/fails", () => {
        throw new AppError("ERR_SAMPLE_INTERNAL", "internal", `typed ${secret}`, { metadata: { secret } });
      });
      app.get("/panics", async () => {
        await new Promise(setImmediate);
        throw new TypeError(`${word.next().value} ${secret}`);
      });
      app.get("/streams", (_request, reply) => {
        async function* chunks(): AsyncGenerator<string> {
          yield "part";
          await new Promise(setImmediate);
          throw new TypeError(`stream ${secret}`);
        }
        return reply.type("text/plain").send(Readable.from(chunks(), { objectMode: false }));
      });
      app.post("/listens", (request) => {
        request.raw.on("data", () => {
          throw new TypeError(`listener ${secret}`);
        });
      });
      app.addContentTypeParser("text/plain", (_request, _payload, done) => done(null));
      app.get("/works", () => ({ ok: true }));
    },
  }),
  provider({
    provides: rpcServices,
    create: () =>
      rpcService(GreeterService, {
        greet: ({ name }) => {
          if (name === "works") return { message: name };
          throw new TypeError(`rpc ${name} ${secret}`);
        },
      }),
  }),
]);

const app = createApp({
  name: "panicking",
  modules: [coreModule, httpModule, grpcModule, panickingModule],
  config: { defaults: { http: { port: 0 }, grpc: { port: 0 }, lifecycle: { announceDelayMs: 0 } } },
});
process.exitCode = await app.run({
  onReady: () =>
    say({ http: `http://127.0.0.1:${app.get(httpServer).port}`, grpc: `127.0.0.1:${app.get(grpcServer).port}` }),
});
