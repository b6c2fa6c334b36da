import { AppError, coreModule, createApp, defineModule, provider, z } from "@plinth/kernel";
import { createMemoryRegistry, createMemoryStore, registryModule, registryModuleOf } from "@plinth/registry";
import { type AuthzClient, authzClient, authzService, roleId, serviceClientsModule } from "@plinth/services";
import { fakeAuthz } from "@plinth/services/testing";
import { grpcModule, httpModule, httpRoutes, rpcServices } from "@plinth/transport";

// Apps of one process find each other in a store that they share; with an agent, apps anywhere find each other in Consul.
const store = createMemoryStore();
const sharedRegistry =
  process.env["PLINTH_CONSUL_ADDR"] === undefined
    ? registryModuleOf((context) => createMemoryRegistry({ ...context, store }))
    : registryModule;

/** What Authz knows in this example: Ada may read notes. All its instances have the same memory, as the real one's would have a database. */
const memory: AuthzClient = fakeAuthz();
await memory.createRole({ roleId: roleId("reader"), permissions: ["notes.read"] });
await memory.createBinding({ roleId: roleId("reader"), subject: { type: "user", id: "ada" } });

/** An instance of Authz, until somebody builds the real one: the fake behind real servers. */
export function createAuthz() {
  const serve = provider({ provides: rpcServices, create: () => authzService(memory) });
  return createApp({
    name: "authz",
    modules: [coreModule, httpModule, grpcModule, sharedRegistry, defineModule("authz", [serve])],
    config: { defaults: { http: { port: 0 }, grpc: { port: 0 } } },
  });
}

const notesRoutes = provider({
  provides: httpRoutes,
  needs: { authz: authzClient },
  create:
    ({ authz }) =>
    (http) =>
      void http.get(
        "/notes/:id",
        { schema: { params: z.object({ id: z.string() }), querystring: z.object({ as: z.string() }) } },
        async ({ params, query }) => {
          const { allowed } = await authz.check({
            subject: { type: "user", id: query.as },
            resource: { type: "note", id: params.id },
            permission: "notes.read",
          });
          if (!allowed) throw new AppError("ERR_NOTES_FORBIDDEN", "permission_denied", `${query.as} may not read it`);
          return { id: params.id, text: "buy milk" };
        },
      ),
});

/** A service that asks Authz who may read; over which wire, and how patiently, its section `services.authz` says. */
export function createNotes(port: number, transport: "grpc" | "http" = "grpc") {
  return createApp({
    name: "notes",
    modules: [coreModule, httpModule, sharedRegistry, serviceClientsModule, defineModule("notes", [notesRoutes])],
    config: { defaults: { http: { port }, services: { authz: { transport, timeoutMs: 1_000 } } } },
  });
}
