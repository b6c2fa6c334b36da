import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { coreModule, currentContext, defineModule, provider, runInContext, token } from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { createMemoryRegistry, createMemoryStore, registryModuleOf } from "@plinth/registry";
import { createRpcClient } from "@plinth/transport";
import {
  type AuditClient,
  type AuthzClient,
  AuditService,
  auditClient,
  type IdentityClient,
  type UserId,
} from "../index.ts";
import { fakeAudit, fakeAuthz, fakeIdentity, type ReferenceServer, referenceServer } from "../testing/index.ts";
import { defineClient } from "./definition.ts";
import { callCredentials, serviceClients, serviceClientsModule, serviceClientsModuleOf } from "./module.ts";
import { identityClient } from "./plinth-clients.ts";
import { buildClients, createServiceClients } from "./service-clients.ts";

/** A contract of one's own: for a test, one that there is already under another name. */
const logbook = defineClient({ name: "logbook", descriptor: AuditService });
const diary = defineClient({
  name: "diary",
  descriptor: AuditService,
  create: ({ channel }) => {
    const rpc = createRpcClient(AuditService, { channel, timeoutMs: 30_000 });
    return { length: async () => Number((await rpc.getHead({})).sequence) };
  },
});

const identity = fakeIdentity();
let server: ReferenceServer;
let ada: UserId;
const store = createMemoryStore();
const registry = createMemoryRegistry({ store });
const timeoutMs = 30_000;

before(async () => {
  server = await referenceServer({ identity, authz: fakeAuthz(), audit: fakeAudit() });
  ({ userId: ada } = await identity.createUser({ email: "ada@example.com" }));
  const ports = { grpc: portOf(server.grpcAddress), http: portOf(server.httpUrl) };
  for (const service of ["identity", "authz", "logbook", "diary"])
    await registry.register({ service, id: `${service}-1`, host: "127.0.0.1", ports });
});
after(async () => {
  await registry.close();
  await server.close();
});

function portOf(address: string): number {
  return Number(address.split(":").at(-1));
}

describe("createServiceClients", () => {
  it("gives a client for each service, found by the registry, a list or a URL, over either wire", async () => {
    const services = {
      identity: { timeoutMs },
      authz: { transport: "http", timeoutMs },
      audit: { transport: "http", find: { url: server.httpUrl }, timeoutMs },
      auth: { find: { addresses: [server.grpcAddress] }, timeoutMs },
    } as const;
    const clients = await createServiceClients({ registry, services });
    assert.equal((await clients.identity.getUser(ada)).email, "ada@example.com");
    assert.deepEqual((await clients.authz.listRolesPage()).items, []);
    assert.equal((await clients.audit.getHead()).sequence, 0);
    await assert.rejects(clients.auth.getIssuer(), { status: "unimplemented" }); // this server has no Auth
    const told = clients.describe();
    assert.deepEqual([told.identity?.transport, told.authz?.transport], ["grpc", "http"]);
    assert.deepEqual(
      [told.identity?.foundBy, told.auth?.foundBy, told.audit?.foundBy],
      ["registry", "addresses", "url"],
    );
    await clients.close();
    await clients.close();
    await assert.rejects(clients.identity.getUser(ada), { code: "ERR_RPC_CLIENT_CLOSED" });
  });

  it("has clients of contracts of one's own, typed", async () => {
    const clients = await createServiceClients({ registry, definitions: [logbook, diary] });
    assert.equal((await clients.logbook.getHead({}, { timeoutMs })).sequence, 0n);
    const length: number = await clients.diary.length();
    assert.equal(length, 0);
    await clients.close();
  });

  it("follows nobody who is not called, and opens with the first call", async () => {
    const clients = await createServiceClients({ registry });
    assert.deepEqual(clients.describe(), {});
    await clients.identity.getUser(ada, { timeoutMs });
    assert.deepEqual(Object.keys(clients.describe()), ["identity"]);
    await clients.close();
    await assert.rejects(clients.authz.listRolesPage(), { code: "ERR_RPC_CLIENT_CLOSED" });
  });

  it("opens a channel outside of the request whose call is its first", async () => {
    const seen: unknown[] = [];
    const watching: typeof registry.watch = (...args) => {
      seen.push(currentContext());
      return registry.watch(...args);
    };
    const find = {
      get registry() {
        seen.push(currentContext());
        return { watch: watching };
      },
    };
    const clients = buildClients({ services: { identity: { find, timeoutMs } } }).clients;
    await runInContext({ requestId: "first" }, () => clients.identity.getUser(ada));
    assert.ok(seen.length > 1);
    assert.deepEqual(new Set(seen), new Set([undefined]));
    await clients.close();
  });

  it("refuses what nobody can be called by, and closes what it has opened", async () => {
    const wrong = { code: "ERR_OPTION_TYPE" };
    await assert.rejects(createServiceClients({ definitions: [logbook, logbook] }), { ...wrong, message: /logbook/ });
    await assert.rejects(createServiceClients({ services: { auth: {} } }), {
      ...wrong,
      message: /services\.auth\.find/,
    });
    const lazy = await createServiceClients();
    await assert.rejects(lazy.auth.getIssuer(), wrong);
    const services: object = { autz: {} };
    await assert.rejects(createServiceClients({ registry, services }), {
      ...wrong,
      message: /services\.autz must be one of auth,/,
    });
    const bad = { maxInFlight: 0 };
    await assert.rejects(createServiceClients({ registry, services: { auth: bad, identity: {} } }), {
      code: "ERR_OPTION_RANGE",
    });
    for (const name of ["close", "describe", "Notes", "a-b", ""])
      assert.throws(() => defineClient({ name, descriptor: AuditService }), wrong);
  });

  it("calls over a channel that it is given, and leaves it open", async () => {
    const own = await createServiceClients({ registry });
    await own.identity.getUser(ada, { timeoutMs });
    let closed = 0;
    const channel = { ...stub(), close: async () => void closed++ };
    const clients = await createServiceClients({ services: { authz: { channel } } });
    await assert.rejects(clients.authz.listRolesPage(), { message: "stub" });
    await clients.close();
    assert.equal(closed, 0);
    await own.close();
  });

  // The compiler is the test here: each line marked as an error must be one.
  it("does not compile with names or options that there are not", async () => {
    const clients = await createServiceClients({ registry, definitions: [diary] });
    const typed: { identity: IdentityClient; authz: AuthzClient; audit: AuditClient } = clients;
    assert.ok(typed);
    // @ts-expect-error -- there is no such client
    assert.equal(clients.logbook, undefined);
    // @ts-expect-error -- nor such a method
    assert.equal(clients.diary.width, undefined);
    // @ts-expect-error -- nor can a service be called that nobody defines
    await assert.rejects(createServiceClients({ registry, services: { autz: {} } }));
    // @ts-expect-error -- nor is there such an option
    await createServiceClients({ services: { auth: { find: { registry }, timeout: 1 } } }).then((other) =>
      other.close(),
    );
    // @ts-expect-error -- nor a description of who is not there
    assert.equal(clients.describe().logbook, undefined);
    await clients.close();
  });
});

function stub() {
  return {
    peer: "stub",
    unary: () => Promise.reject(new Error("stub")),
    async *stream() {},
  };
}

describe("the module of clients", () => {
  const registered = registryModuleOf((context) => createMemoryRegistry({ ...context, store }));

  it("gives each client that an app needs, by its settings, and closes it after its users", async () => {
    const order: string[] = [];
    const user = token("test.user").of<{ readonly identity: IdentityClient }>();
    const useClients = defineModule("test", [
      provider({
        provides: user,
        needs: { identity: identityClient, logbook: logbook.client, clients: serviceClients, audit: auditClient },
        create: (clients) => clients,
        start: () => {},
        // calls that requests make while the servers drain still go out
        drain: async ({ identity: own }) => void order.push((await own.getUser(ada)).email),
      }),
      provider({ provides: callCredentials, create: () => ({ headers: () => ({ "x-caller": "test" }) }) }),
    ]);
    await using app = await testApp({
      name: "caller",
      modules: [coreModule, registered, serviceClientsModuleOf([logbook]), useClients],
      config: { defaults: { services: { logbook: { transport: "http", timeoutMs }, identity: { timeoutMs } } } },
    });
    assert.equal((await app.get(identityClient).getUser(ada)).userId, ada);
    assert.equal((await app.get(logbook.client).getHead({})).sequence, 0n);
    const described: Readonly<Record<string, unknown>> = app.get(serviceClients).describe();
    assert.deepEqual(Object.keys(described).toSorted(), ["audit", "identity", "logbook"]);
    const own = app.get(identityClient);
    await app.stop();
    assert.deepEqual(order, ["ada@example.com"]);
    await assert.rejects(own.getUser(ada), { code: "ERR_RPC_CLIENT_CLOSED" });
  });

  it("does not start with settings that are none", async () => {
    const start = (services: object) =>
      testApp({
        name: "caller",
        modules: [coreModule, registered, serviceClientsModule],
        expose: [identityClient],
        config: { defaults: { services } },
      });
    await assert.rejects(start({ autz: {} }), /services\.autz/);
    await assert.rejects(start({ identity: { addresses: ["a:1"], url: "http://a:1" } }), /addresses and url/);
    await assert.rejects(start({ identity: { addresses: ["no port"] } }), /addresses\[0\]/);
  });
});
