// A contract served by Plinth's HTTP server with everything on. Its settings come from the environment, its log goes to
// standard output, as in production.
import { coreModule, createApp, defineModule, provider } from "@plinth/kernel";
import { telemetryModule } from "@plinth/telemetry";
import { httpModule, rpcService, rpcServices } from "@plinth/transport";
import { GreeterService } from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { greetingOf } from "./greeting.ts";

const greeterModule = defineModule("greeter", [
  provider({
    provides: rpcServices,
    create: () => rpcService(GreeterService, { greet: ({ name }) => ({ message: greetingOf(name) }) }),
  }),
]);

const app = createApp({ name: "bench", modules: [coreModule, telemetryModule, httpModule, greeterModule] });
process.exitCode = await app.run();
