// What the traced services are about: an HTTP route that calls an RPC of its own service over gRPC, which asks the database.
import { database, databaseModule, sql } from "@plinth/database";
import { type App, coreModule, createApp, defineModule, logger, metrics, provider } from "@plinth/kernel";
import { telemetryModule } from "@plinth/telemetry";
import {
  createGrpcChannel,
  createRpcClient,
  grpcModule,
  type HttpApp,
  httpModule,
  httpRoutes,
  rpcService,
  rpcServices,
} from "@plinth/transport";
import { GreeterService } from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";

const provideRpc = provider({
  provides: rpcServices,
  needs: { db: database, log: logger },
  create: ({ db, log }) =>
    rpcService(GreeterService, {
      greet: async ({ name }) => {
        log.info("greeting");
        const { rows } = await db.query<{ readonly word: string }>(sql`select 'Hello' as word`);
        return { message: `${rows[0]?.word}, ${name}` };
      },
    }),
});

/** Calls the service's own RPC. */
export type Greet = (name: string) => Promise<string>;

const provideRoutes = (route: (app: HttpApp, greet: Greet) => void) =>
  provider({
    provides: httpRoutes,
    needs: { metrics },
    create: async ({ metrics: own }) => {
      const address = `127.0.0.1:${process.env["PLINTH_GRPC_PORT"]}`;
      const channel = await createGrpcChannel({ peer: "greeter", address, metrics: own });
      const greeter = createRpcClient(GreeterService, { channel, timeoutMs: 20_000 });
      return (app) => route(app, async (name) => (await greeter.greet({ name })).message);
    },
  });

/** @param route - Registers `/greet/:name`, which calls `greet`. */
export const createTracedApp = (route: (app: HttpApp, greet: Greet) => void): App =>
  createApp({
    name: "traced",
    modules: [
      coreModule,
      telemetryModule,
      databaseModule,
      httpModule,
      grpcModule,
      defineModule("traced", [provideRpc, provideRoutes(route)]),
    ],
  });
