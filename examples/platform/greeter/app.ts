import { AppError, coreModule, createApp, defineModule, provider, z } from "@plinth/kernel";
import { telemetryModule } from "@plinth/telemetry";
import { grpcModule, grpcServer, httpModule, httpRoutes, httpServer, rpcService, rpcServices } from "@plinth/transport";
import { GreeterService } from "../gen/plinth/examples/greeter/v1/greeter_pb.ts";
import type { AppFactory } from "../platform.ts";
import { reporterModules } from "../reporters.ts";

const maxNameLength = 100;

function greet(name: string): { message: string } {
  if (name.length === 0 || name.length > maxNameLength) {
    throw new AppError("ERR_GREETER_NAME", "invalid_argument", `name must have 1 to ${maxNameLength} characters`);
  }
  return { message: `Hello, ${name}` };
}

/** One contract, three ways in: gRPC, the same as JSON by `POST /plinth.examples.greeter.v1.GreeterService/Greet`, and a plain route. */
const greeterModule = defineModule("greeter", [
  provider({ provides: rpcServices, create: () => rpcService(GreeterService, { greet: ({ name }) => greet(name) }) }),
  provider({
    provides: httpRoutes,
    create: () => (app) => {
      app.get("/hello/:name", { schema: { params: z.object({ name: z.string() }) } }, async ({ params }) =>
        greet(params.name),
      );
    },
  }),
]);

/** A service without state. */
export const createGreeter: AppFactory = ({ environment, registryModule, config }) => {
  const app = createApp({
    name: "greeter",
    version: "1.0.0",
    modules: [coreModule, telemetryModule, registryModule, httpModule, grpcModule, ...reporterModules, greeterModule],
    config: { environment, defaults: { ...config, http: { port: 0 }, grpc: { port: 0, reflection: true } } },
  });
  return {
    app,
    addresses: () => [
      { what: "greeter", url: `http://127.0.0.1:${app.get(httpServer).port}` },
      { what: "greeter, gRPC", url: `127.0.0.1:${app.get(grpcServer).port}` },
    ],
  };
};
