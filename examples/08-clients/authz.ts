import { coreModule, createApp, defineModule, provider } from "@plinth/kernel";
import { type AuthzClient, authzService, roleId } from "@plinth/services";
import { fakeAuthz } from "@plinth/services/testing";
import { grpcModule, httpModule, rpcServices } from "@plinth/transport";
import { sharedRegistry } from "./shared-registry.ts";

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
