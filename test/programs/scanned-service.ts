// A service whose callers choose what it answers with, for the test of the number of its metrics.
import { coreModule, createApp, defineModule, provider } from "@plinth/kernel";
import { grpcModule, httpModule, httpRoutes, rpcService, rpcServices } from "@plinth/transport";
import { GreeterService } from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";

const scannedModule = defineModule("scanned", [
  provider({
    provides: httpRoutes,
    create: () => (app) => {
      app.get<{ Params: { id: string } }>("/notes/:id", ({ params }) => ({ id: params.id }));
      /** Any status that Node lets a handler send: past Fastify, which ends at 599. */
      app.get<{ Params: { status: string } }>("/status/:status", ({ params }, reply) => {
        const status = Number(params.status);
        reply.hijack();
        reply.raw.writeHead(Number.isInteger(status) ? status : 200).end();
      });
    },
  }),
  provider({
    provides: rpcServices,
    create: () => rpcService(GreeterService, { greet: ({ name }) => ({ message: `Hello, ${name}` }) }),
  }),
]);

const app = createApp({ name: "scanned", modules: [coreModule, httpModule, grpcModule, scannedModule] });
process.exitCode = await app.run();
