import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, it } from "node:test";
import { status } from "@grpc/grpc-js";
import { coreModule, defineModule, metrics, provider } from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { grpcModule, grpcServer } from "../grpc/module.ts";
import { httpModule, httpRoutes, httpServer } from "../http/module.ts";
import { rpcService, rpcServices } from "../rpc/service.ts";
import { echoHandlers } from "../testing/grpc.ts";
import { EchoClient, failureOf } from "../testing/grpc-client.ts";
import { jwtModule, jwtSettings } from "./module.ts";

const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const foreign = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const set = JSON.stringify({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: "k1", alg: "ES256", use: "sig" }] });

function tokenOf(claims: object = {}, key: KeyObject = privateKey): string {
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");
  const now = Math.floor(Date.now() / 1e3);
  const usual = { iss: "https://issuer", aud: "notes", sub: "alice", scope: "notes:read", exp: now + 600 };
  const input = `${encode({ alg: "ES256", kid: "k1", typ: "at+jwt" })}.${encode({ ...usual, ...claims })}`;
  return `${input}.${sign("sha256", Buffer.from(input), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}

/** Publishes the key set, or fails. */
async function startKeys(answer: () => number) {
  const server = createServer((_request, response) => response.writeHead(answer()).end(set));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/jwks`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const notes = defineModule("notes", [
  provider({
    provides: httpRoutes,
    create: () => (app) => {
      app.get("/me", async ({ identity }) => ({ subject: identity?.subject, tenant: identity?.claims["tenant"] }));
      app.get("/write", { config: { scopes: ["notes:write"] } }, async () => "written");
    },
  }),
  provider({
    provides: rpcServices,
    create: () =>
      rpcService(
        EchoService,
        { ...echoHandlers, say: (_request, { identity }) => ({ text: identity?.subject ?? "nobody" }) },
        { scopes: ["notes:read"], methods: { collect: { scopes: ["notes:write"] }, chat: { auth: "none" } } },
      ),
  }),
]);

async function startApp(jwks: string) {
  const auth = { issuers: { main: { issuer: "https://issuer", audiences: ["notes"], jwks } } };
  const config = { defaults: { http: { port: 0 }, grpc: { port: 0 }, auth } };
  const app = await testApp({ name: "notes", modules: [coreModule, httpModule, grpcModule, jwtModule, notes], config });
  const origin = `http://127.0.0.1:${app.get(httpServer).port}`;
  const client = new EchoClient(app.get(grpcServer).port);
  return {
    app,
    client,
    ask: (path: string, token?: string, init: RequestInit = {}) => {
      const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
      return fetch(`${origin}${path}`, { ...init, headers: { "content-type": "application/json", ...authorization } });
    },
    async [Symbol.asyncDispose]() {
      client.close();
      await app.stop();
    },
  };
}

const bearer = (token: string) => ({ metadata: { authorization: `Bearer ${token}` } });

describe("jwtModule", () => {
  it("tells who calls by a token, over HTTP, Connect and gRPC alike", async () => {
    await using keys = await startKeys(() => 200);
    await using service = await startApp(keys.url);
    const token = tokenOf({ tenant: "t1" });
    assert.deepEqual(await (await service.ask("/me", token)).json(), { subject: "alice", tenant: "t1" });
    const say = { method: "POST", body: "{}" };
    assert.deepEqual(await (await service.ask(`/${EchoService.typeName}/Say`, token, say)).json(), { text: "alice" });
    assert.equal((await service.client.say({}, bearer(token))).text, "alice");
  });

  it("refuses who has none, or a false one, with a constant text; and says so in metrics", async () => {
    await using keys = await startKeys(() => 200);
    await using service = await startApp(keys.url);
    const missing = await service.ask("/me");
    assert.deepEqual([missing.status, missing.headers.get("www-authenticate")], [401, 'Bearer realm="plinth"']);
    const past = Math.floor(Date.now() / 1e3) - 600;
    const refusals = [
      [tokenOf({}, foreign), "the token is not valid"],
      [tokenOf({ aud: "others" }), "the token is not valid"],
      [tokenOf({ iss: "https://other" }), "the token is not valid"],
      [tokenOf({ exp: past }), "the token has expired"],
      ["nonsense", "the token is not valid"],
    ] as const;
    for (const [token, detail] of refusals) {
      const reply = await service.ask("/me", token);
      assert.deepEqual(
        [reply.status, reply.headers.get("www-authenticate")],
        [401, 'Bearer realm="plinth", error="invalid_token"'],
      );
      assert.partialDeepStrictEqual(await reply.json(), { code: "ERR_UNAUTHENTICATED", detail });
      const failure = await failureOf(service.client.say({}, bearer(token)));
      assert.deepEqual([failure.code, failure.message], [status.UNAUTHENTICATED, detail]);
    }
    const { body } = await service.app.get(metrics).expose();
    for (const reason of ["signature", "audience", "issuer", "expired", "malformed"])
      assert.match(body, new RegExp(`auth_token_refusals_total{reason="${reason}"} 2\\b`));
  });

  it("wants the scopes of a route and of a method, on every wire", async () => {
    await using keys = await startKeys(() => 200);
    await using service = await startApp(keys.url);
    const reader = tokenOf();
    const writer = tokenOf({ scope: "notes:read notes:write" });
    assert.deepEqual(
      [(await service.ask("/write", reader)).status, (await service.ask("/write", writer)).status],
      [403, 200],
    );
    const stranger = tokenOf({ scope: "" });
    const failure = await failureOf(service.client.say({}, bearer(stranger)));
    assert.deepEqual([failure.code, failure.info?.reason], [status.PERMISSION_DENIED, "ERR_SCOPE_MISSING"]);
    const say = { method: "POST", body: "{}" };
    assert.equal((await service.ask(`/${EchoService.typeName}/Say`, stranger, say)).status, 403);
    const collect = (token: string) => {
      const { call, reply } = service.client.collect(bearer(token));
      call.end({ text: "a" });
      return reply;
    };
    assert.equal((await failureOf(collect(reader))).info?.reason, "ERR_SCOPE_MISSING");
    assert.equal((await collect(writer)).text, "a");
  });

  it("answers 503 without keys, and starts and stays ready all the same", async () => {
    let answer = 500;
    await using keys = await startKeys(() => answer);
    await using service = await startApp(keys.url);
    const reply = await service.ask("/me", tokenOf());
    assert.equal(reply.status, 503);
    assert.partialDeepStrictEqual(await reply.json(), { code: "ERR_AUTH_UNAVAILABLE" });
    const failure = await failureOf(service.client.say({}, bearer(tokenOf())));
    assert.equal(failure.code, status.UNAVAILABLE);
    assert.equal((await service.ask("/me")).status, 401, "who says nothing needs no key");
    assert.equal((await service.ask("/ready")).status, 200);
    answer = 200;
  });

  it("asks nobody for health, metrics and readiness", async () => {
    await using keys = await startKeys(() => 200);
    await using service = await startApp(keys.url);
    for (const path of ["/healthz", "/ready", "/metrics"]) assert.equal((await service.ask(path)).status, 200, path);
    await service.client.raw("/grpc.health.v1.Health/Check", new Uint8Array());
  });
});

describe("the section auth", () => {
  const usual = { issuer: "https://issuer", audiences: ["notes"], jwks: "https://issuer/jwks" };
  const bad = [
    {},
    { issuers: {} },
    { issuers: { main: { ...usual, jwks: "http://issuer/jwks" } } },
    { issuers: { main: { ...usual, audiences: [] } } },
    { issuers: { main: { ...usual, algorithms: ["none"] } } },
    { issuers: { main: { ...usual, algorithms: ["HS256"] } } },
    { issuers: { main: usual, twin: usual } },
    { issuers: { Main: usual } },
    { issuers: { main: usual }, maxCachedTokens: 1 },
  ];
  for (const settings of bad) {
    it(`refuses ${JSON.stringify(settings).slice(0, 120)}`, async () => {
      assert.ok((await jwtSettings.schema["~standard"].validate(settings)).issues);
    });
  }
});

describe("rpcService", () => {
  it("refuses a need of a method that the contract has not", () => {
    const methods = { sya: { scopes: ["a"] } };
    assert.throws(
      () => Reflect.apply(rpcService, undefined, [EchoService, echoHandlers, { methods }]),
      /has no method sya/,
    );
  });
});
