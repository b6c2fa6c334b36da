// A service with everything that can be open when it is told to stop, run as a program by the tests of that: a request that
// hangs, an upload, a WebSocket, a stream of events, and calls of gRPC of all kinds.
import { once } from "node:events";
import { coreModule, createApp, defineModule, provider } from "@plinth/kernel";
import { eventStream, grpcModule, httpModule, httpRoutes, rpcService, rpcServices, webSocket } from "@plinth/transport";
import { EchoService } from "../../pkg/transport/src/gen/plinth/transport/testing/v1/echo_pb.ts";

const drainingModule = defineModule("draining", [
  provider({
    provides: httpRoutes,
    create: () => async (app) => {
      app.get("/works", () => ({ ok: true }));
      app.get("/hangs", () => new Promise(() => {}));
      app.post("/upload", ({ body }) => ({ bytes: JSON.stringify(body).length }));
      app.get("/events", (_request, reply) =>
        eventStream(reply, async function* (signal) {
          yield { data: "first" };
          await once(signal, "abort");
        }),
      );
      await webSocket(app, "/socket", async (socket) => {
        for await (const message of socket) await socket.send(message);
      });
    },
  }),
  provider({
    provides: rpcServices,
    create: () =>
      rpcService(EchoService, {
        say: ({ text }) => ({ text }),
        async *count({ to }) {
          for (let number = 1; number <= to; number++) yield { number };
        },
        async collect(requests) {
          const texts: string[] = [];
          for await (const { text } of requests) texts.push(text);
          return { text: texts.join(" ") };
        },
        async *chat(requests) {
          for await (const { text } of requests) yield { text: `you said ${text}` };
        },
      }),
  }),
]);

const modules = [coreModule, httpModule, grpcModule, drainingModule];
process.exitCode = await createApp({ name: "draining", modules }).run();
