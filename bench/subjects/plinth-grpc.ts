// A contract served by Plinth's gRPC server with everything on, and its metrics on the ops port. Its settings come from the
// environment, its log goes to standard output, as in production.
import { coreModule, createApp, defineModule, provider } from "@plinth/kernel";
import { telemetryModule } from "@plinth/telemetry";
import { grpcModule, opsModule, rpcService, rpcServices } from "@plinth/transport";
import { GreeterService } from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { greetingOf } from "./greeting.ts";

const greeterModule = defineModule("greeter", [
  provider({
    provides: rpcServices,
    create: () => rpcService(GreeterService, { greet: ({ name }) => ({ message: greetingOf(name) }) }),
  }),
]);

const app = createApp({ name: "bench", modules: [coreModule, opsModule, telemetryModule, grpcModule, greeterModule] });
process.exitCode = await app.run();
