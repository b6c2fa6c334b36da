import { coreModule, createApp, defineModule, provider, token } from "@plinth/kernel";
import { createMemoryRegistry, createMemoryStore, registry, registryModule, registryModuleOf } from "@plinth/registry";
import { createGrpcChannel, grpcModule, httpModule, httpRoutes, type RpcChannel } from "@plinth/transport";
import { checkGrpcHealth, discoveryModule, serviceDispatcher } from "@plinth/transport/discovery";

// Apps of one process find each other in a store that they share; with an agent, apps anywhere find each other in Consul.
const store = createMemoryStore();
const sharedRegistry =
  process.env["PLINTH_CONSUL_ADDR"] === undefined
    ? registryModuleOf((context) => createMemoryRegistry({ ...context, store }))
    : registryModule;

/** A service with notes, over HTTP and gRPC; each instance says which it is. */
export function createNotes(instance: string) {
  const routes = provider({
    provides: httpRoutes,
    create: () => (http) => void http.get("/notes", async () => ({ notes: ["buy milk"], from: instance })),
  });
  return createApp({
    name: "notes",
    modules: [coreModule, httpModule, grpcModule, sharedRegistry, defineModule("notes", [routes])],
    config: { defaults: { http: { port: 0 }, grpc: { port: 0 } } }, // any port: the registry tells which
  });
}

const notesChannel = token("reader.notes").of<RpcChannel>();

const readerModule = defineModule("reader", [
  provider({
    provides: notesChannel,
    needs: { registry },
    create: (needs) => createGrpcChannel({ peer: "notes", ...needs }),
    stop: (channel, { signal }) => channel.close({ signal }),
  }),
  provider({
    provides: httpRoutes,
    needs: { dispatcher: serviceDispatcher, channel: notesChannel },
    create:
      ({ dispatcher, channel }) =>
      (http) => {
        http.get("/", async () => {
          const [reply, health] = await Promise.all([
            fetch("http://notes/notes", { dispatcher, signal: AbortSignal.timeout(5_000) }),
            checkGrpcHealth(channel),
          ]);
          return { read: await reply.json(), health };
        });
      },
  }),
]);

/** A service that reads notes, and knows of them nothing but the name. */
export function createReader(port: number) {
  return createApp({
    name: "reader",
    modules: [coreModule, httpModule, sharedRegistry, discoveryModule, readerModule],
    config: { defaults: { http: { port } } },
  });
}
