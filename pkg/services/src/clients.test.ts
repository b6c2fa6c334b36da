import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, type DescMethod, type DescService, type MessageInitShape } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import { AppError } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { createRpcClient, type RpcChannel, type StreamChannelCall, type UnaryChannelCall } from "@plinth/transport";
import {
  AuditService,
  AuthService,
  auditEntryHash,
  AuthzService,
  createAuditClient,
  createAuthClient,
  createAuthzClient,
  createIdentityClient,
  eventId,
  IdentityService,
  roleId,
  sessionId,
  userId,
} from "./index.ts";
import { fakeAudit, fakeAuthz, fakeIdentity, referenceServer } from "./testing/index.ts";
import { channelsTo } from "./testing/wires.ts";

/** A channel that answers everything with this, and keeps what it was asked. */
function answering(reply: object): RpcChannel & { readonly requests: object[] } {
  const requests: object[] = [];
  return {
    peer: "test",
    requests,
    unary: async <M extends DescMethod>({ method, request }: UnaryChannelCall<M>) => {
      requests.push(request);
      const output: M["output"] = method.output;
      return create(output, { ...reply } as MessageInitShape<M["output"]>);
    },
    async *stream<M extends DescMethod>({ method }: StreamChannelCall<M>) {
      const output: M["output"] = method.output;
      yield create(output, { ...reply } as MessageInitShape<M["output"]>);
    },
    close: async () => {},
  };
}

const user = {
  userId: "u-1",
  email: "a@b.c",
  createdAt: { seconds: 1n },
  updatedAt: { seconds: 1n, nanos: 999_999_999 },
};

describe("ids", () => {
  it("are texts of their kind", () => {
    assert.equal(userId("auth0|a.b_c~d@e:f-1"), "auth0|a.b_c~d@e:f-1");
    const bad = [() => userId(""), () => sessionId("a b"), () => userId("x".repeat(129)), () => roleId("Admin")];
    for (const make of [...bad, () => eventId("short")])
      assert.throws(make, { code: "ERR_ID_INVALID", status: "invalid_argument" });
    assert.throws(
      () => userId("no\nsuch"),
      (error: Error) => !error.message.includes("such"),
    );
  });
});

describe("a client", () => {
  it("refuses a reply that breaks its contract, and says how", async () => {
    const broken = { code: "ERR_SERVICE_REPLY", status: "internal" };
    const identity = (reply: object) => createIdentityClient({ channel: answering(reply) });
    await assert.rejects(identity({}).getUser(userId("u-1")), {
      ...broken,
      message: /GetUserResponse .*\/user is required/,
    });
    await assert.rejects(identity({ user: { ...user, userId: "no id" } }).getUser(userId("u-1")), broken);
    await assert.rejects(createAuthClient({ channel: answering({ active: true }) }).introspect({ token: "t" }), broken);
    const audit = createAuditClient({ channel: answering({ hash: new Uint8Array(31), readAt: { seconds: 1n } }) });
    await assert.rejects(audit.getHead(), { ...broken, message: /32 bytes, not 31/ });
    await assert.rejects(
      audit.recordBatch([]).then(() => audit.getHead()),
      broken,
    );
    const authz = createAuthzClient({ channel: answering({ results: [] }) });
    const item = { subject: { type: "user", id: "1" }, resource: { type: "note", id: "1" }, relation: "reader" };
    await assert.rejects(authz.batchCheck({ items: [item] }), { ...broken, message: /0 results of 1/ });
  });

  it("takes words that it does not know for others, and cuts times to milliseconds", async () => {
    const identity = createIdentityClient({ channel: answering({ user: { ...user, state: 77 } }) });
    const read = await identity.getUser(userId("u-1"));
    assert.equal(read.state, "other");
    assert.deepEqual([read.createdAt, read.updatedAt], [new Date(1_000), new Date(1_999)]);
    const tail = createAuditClient({ channel: answering({}) }).tail();
    assert.deepEqual(await Array.fromAsync(tail), []);
  });

  it("names each request that is done once, unless its caller has", async () => {
    const channel = answering({ user });
    const identity = createIdentityClient({ channel, newRequestId: () => "made-for-it" });
    await identity.createUser({ email: "a@b.c" });
    await identity.createUser({ email: "a@b.c", requestId: "of-the-caller" });
    assert.deepEqual(
      channel.requests.map((request) => Reflect.get(request, "requestId")),
      ["made-for-it", "of-the-caller"],
    );
  });
});

describe("a service", () => {
  it("refuses what no client of this package sends, on every wire", async () => {
    await using server = await referenceServer({ identity: fakeIdentity(), authz: fakeAuthz(), audit: fakeAudit() });
    const { grpc, http, close } = await channelsTo(server);
    for (const channel of [grpc, http]) {
      const options = { channel, timeoutMs: 30_000 };
      const identity = createRpcClient(IdentityService, options);
      const authz = createRpcClient(AuthzService, options);
      const invalid = { code: "ERR_REQUEST_INVALID", status: "invalid_argument" };
      await assert.rejects(identity.createUser({ email: "a@b.c" }), { ...invalid, message: /request_id is required/ });
      await assert.rejects(identity.getUser({ userId: "no id" }), { code: "ERR_ID_INVALID" });
      await assert.rejects(identity.updateUser({ user: { userId: "u" }, updateMask: { paths: ["etag"] } }), invalid);
      await assert.rejects(identity.searchUsers({ state: 77 as never }), invalid);
      await assert.rejects(identity.searchUsers({ pageSize: -1 }), invalid);
      await assert.rejects(authz.check({}), { ...invalid, message: /\/item is required/ });
      await assert.rejects(authz.check({ item: { subject: { type: "a", id: "1" } } }), invalid);
      await assert.rejects(authz.writeRelationships({ updates: [{}] }), {
        ...invalid,
        message: /operation is required/,
      });
      const audit = createRpcClient(AuditService, options);
      const { results } = await audit.recordBatch({ events: [{}] });
      assert.equal(results[0]?.outcome.case === "error" && results[0].outcome.value.code, "ERR_AUDIT_EVENT_INVALID");
      await assert.rejects(audit.record({}), { code: "ERR_AUDIT_EVENT_INVALID" });
    }
    await close();
  });

  it("tells nothing of what it fails at itself", async () => {
    const identity = fakeIdentity();
    identity.control.failNext("getUser", AppError.internal("ERR_X", "the secret is s3cret"));
    await using server = await referenceServer({ identity });
    const { http: channel, close } = await channelsTo(server);
    const failure = createIdentityClient({ channel, timeoutMs: 30_000 }).getUser(userId("u"));
    await assert.rejects(
      failure,
      (error: AppError) => error.status === "internal" && !error.message.includes("s3cret"),
    );
    await close();
  });
});

describe("the contracts", () => {
  it("have no method that may be called by GET and carries a secret, and say of each whether it may be repeated", () => {
    const services: readonly DescService[] = [AuthService, IdentityService, AuthzService, AuditService];
    for (const method of services.flatMap(({ methods }) => methods)) {
      const isSecret = method.input.fields.some(({ proto }) => proto.options?.debugRedact === true);
      assert.ok(!isSecret || method.idempotency !== Level.NO_SIDE_EFFECTS, `${method.parent.typeName}/${method.name}`);
    }
  });
});

describe("a fake", () => {
  it("fails, holds and counts as it is told, also when its caller leaves meanwhile", async () => {
    const authz = fakeAuthz();
    authz.control.failNext("listRolesPage", AppError.unavailable("ERR_RPC_UNAVAILABLE", "down"), 2);
    for (let at = 0; at < 2; at++) await assert.rejects(authz.listRolesPage(), { code: "ERR_RPC_UNAVAILABLE" });
    assert.deepEqual((await authz.listRolesPage()).items, []);
    authz.control.hold("listRolesPage", new Promise(() => {}));
    const leave = new AbortController();
    const held = authz.listRolesPage({}, { signal: leave.signal });
    leave.abort();
    await assert.rejects(held, { status: "cancelled" });
    assert.equal(authz.control.calls("listRolesPage"), 4);
    authz.control.reset();
    await authz.listRolesPage();
    assert.equal(authz.control.calls("listRolesPage"), 1);
  });

  it("makes the same ids and times where random and clock are the same", async () => {
    const made = () => fakeIdentity({ clock: new FakeClock(), random: () => 0.5 }).createUser({ email: "a@b.c" });
    assert.deepEqual(await made(), await made());
  });

  it("of Authz answers late to those who bring no token", async () => {
    const authz = fakeAuthz();
    authz.control.lag(1);
    const relationship = {
      resource: { type: "note", id: "1" },
      relation: "reader",
      subject: { type: "user", id: "1" },
    };
    const atLeastAsFresh = await authz.writeRelationships([{ operation: "touch", relationship }]);
    const allowed = async (given: object) => (await authz.check({ ...relationship, ...given })).allowed;
    assert.equal(await allowed({}), false);
    assert.deepEqual(
      [await allowed({ consistency: { atLeastAsFresh } }), await allowed({ consistency: "full" })],
      [true, true],
    );
  });

  it("of Audit says at its intervals that nothing has come", async () => {
    const clock = new FakeClock();
    const items = fakeAudit({ clock }).tail({ heartbeatMs: 1_000 })[Symbol.asyncIterator]();
    const beat = { done: false, value: { kind: "heartbeat", sequence: 0 } };
    assert.deepEqual(await items.next(), beat);
    const next = items.next();
    await clock.advance(1_000);
    assert.deepEqual(await next, beat);
    await items.return?.();
    assert.equal(clock.pending, 0);
  });
});

it("the hash of an entry is that of its parts, as the contract says", () => {
  const entry = {
    sequence: 1,
    recordedAt: new Date(2),
    previousHash: "0".repeat(64),
    event: {
      eventId: eventId("event-01"),
      occurredAt: new Date(-1),
      actor: { type: "user", id: "u" },
      action: "a.b",
      outcome: "success" as const,
      attributes: { ö: "2", a: "1" },
    },
  };
  // made by another program from the words of audit.proto
  assert.equal(auditEntryHash(entry), "ae086bd218b4ebe640ef67ba609d8353ebf7da9730eab8513c254062405f8fe2");
});
