import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { coreModule } from "@plinth/kernel";
import { testApp, until } from "@plinth/kernel/testing";
import type { IdentityClient, UserId } from "../index.ts";
import { fakeAuthz, fakeIdentity, type ReferenceServer, referenceServer } from "../testing/index.ts";
import { serviceClients, serviceClientsModule } from "./module.ts";
import { authzClient, identityClient } from "./plinth-clients.ts";

const identity = fakeIdentity();
const began = Promise.withResolvers<void>();
const gate = Promise.withResolvers<void>();
let one: ReferenceServer;
let other: ReferenceServer;
let ada: UserId;

/** Reads wait at the gate, so that a call can be under way while the settings change. */
const slow: IdentityClient = Object.create(identity, {
  getUser: {
    value: async (...args: Parameters<IdentityClient["getUser"]>) => {
      began.resolve();
      await gate.promise;
      return identity.getUser(...args);
    },
  },
});

before(async () => {
  one = await referenceServer({ identity: slow, authz: fakeAuthz() });
  other = await referenceServer({ identity, authz: fakeAuthz() });
  ({ userId: ada } = await identity.createUser({ email: "ada@example.com" }));
});
after(async () => {
  await one.close();
  await other.close();
});

/** An app that calls two services, and what sets its section anew. */
async function calling(first: object) {
  let services = first;
  const source = { name: "test", load: async () => ({ data: { services }, places: new Map<string, string>() }) };
  const app = await testApp({
    name: "caller",
    modules: [coreModule, serviceClientsModule],
    expose: [identityClient, authzClient, serviceClients],
    config: { environment: {}, sources: [source] },
  });
  const channels = () => app.get(serviceClients).describe();
  return {
    app,
    channels,
    identity: app.get(identityClient),
    authz: app.get(authzClient),
    set: async (next: object) => {
      services = next;
      return app.config.reload();
    },
    [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
  };
}

const timeoutMs = 30_000;

describe("the section of the clients, changed while the app runs", () => {
  it("decides how calls go that begin from then on, while those under way end where they began", async () => {
    const authz = { addresses: [one.grpcAddress], timeoutMs };
    await using caller = await calling({ identity: { addresses: [one.grpcAddress], timeoutMs }, authz });
    const before = caller.channels();
    const underWay = caller.identity.getUser(ada);
    await began.promise;
    const changed = await caller.set({ identity: { transport: "http", url: other.httpUrl, timeoutMs }, authz });
    assert.ok(changed.changed.includes("services.identity.transport"), String(changed.changed));
    await until(() => caller.channels().identity?.transport === "http");
    assert.equal((await caller.identity.getUser(ada)).email, "ada@example.com"); // at the other, which does not wait
    gate.resolve();
    assert.equal((await underWay).email, "ada@example.com");
    assert.deepEqual(caller.channels().authz, before.authz); // it is called as before: its channel is the same
  });

  it("changes nothing at all where one service cannot be called so", async () => {
    const first = { identity: { addresses: [one.grpcAddress] }, authz: { addresses: [one.grpcAddress] } };
    await using caller = await calling(first);
    const missing = { caFile: "/nowhere/ca.pem" };
    await caller.set({ identity: { addresses: [other.grpcAddress] }, authz: { ...first.authz, tls: missing } });
    const told = () =>
      caller.app.logged.withMessage("services are called as before: the new settings cannot be used").length;
    await until(() => told() === 1);
    assert.equal(caller.channels().identity?.instances[0]?.address, one.grpcAddress);
    await caller.set({ ...first, authz: { addresses: [other.grpcAddress] } });
    await until(() => caller.channels().authz?.instances[0]?.address === other.grpcAddress);
    assert.equal(caller.channels().identity?.instances[0]?.address, one.grpcAddress);
    assert.deepEqual((await caller.authz.listRolesPage()).items, []);
    await assert.rejects(caller.set({ identity: { timeoutMs: 0 } }), { code: "ERR_CONFIG_INVALID" });
    assert.equal(caller.channels().identity?.instances[0]?.address, one.grpcAddress);
  });
});
