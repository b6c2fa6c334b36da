// A service whose event loop can be blocked, run as a program by the tests of that: `POST /block/2000` answers, and then blocks for so many milliseconds.
import { coreModule, createApp, defineModule, provider } from "@plinth/kernel";
import { registryModule } from "@plinth/registry";
import { grpcModule, httpModule, httpRoutes, rpcService, rpcServices } from "@plinth/transport";
import { GreeterService } from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { block } from "../support/block.ts";

const stallingModule = defineModule("stalling", [
  provider({
    provides: httpRoutes,
    create: () => (app) => {
      app.get("/works", () => ({ ok: true }));
      app.post<{ Params: { ms: string } }>("/block/:ms", ({ params }, reply) => {
        reply.raw.once("close", () => setImmediate(() => block(Number(params.ms))));
        return { blocks: params.ms };
      });
    },
  }),
  provider({
    provides: rpcServices,
    create: () => rpcService(GreeterService, { greet: ({ name }) => ({ message: name }) }),
  }),
]);

const modules = [coreModule, httpModule, grpcModule, registryModule, stallingModule];
process.exitCode = await createApp({ name: "stalling", modules }).run();
