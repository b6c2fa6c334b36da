// Tokens that have fooled verifiers, at a service: the same ones that the gateway is shown, on both of its wires.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { coreModule, defineModule, metrics, provider } from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { grpcModule, grpcServer, httpModule, httpRoutes, httpServer, rpcService, rpcServices } from "@plinth/transport";
import { jwtModule } from "@plinth/transport/jwt";
import { signingKey, startIssuer, type TestIssuer, tokenOf } from "../../pkg/gateway/src/testing/issuer.ts";
import { tokenTables } from "../../pkg/gateway/src/testing/token-tables.ts";
import { EchoService } from "../../pkg/transport/src/gen/plinth/transport/testing/v1/echo_pb.ts";
import { echoHandlers } from "../../pkg/transport/src/testing/grpc.ts";
import { EchoClient, failureOf } from "../../pkg/transport/src/testing/grpc-client.ts";

const es = signingKey("es");
const rsa = signingKey("rsa", "RS256");
const ed = signingKey("ed", "EdDSA");
const { valid, invalid } = tokenTables({ es, rsa, ed, stranger: signingKey("es") });

const whoAmI = defineModule("who", [
  provider({
    provides: httpRoutes,
    create: () => (app) => void app.get("/me", async ({ identity }) => ({ subject: identity?.subject })),
  }),
  provider({
    provides: rpcServices,
    create: () =>
      rpcService(EchoService, {
        ...echoHandlers,
        say: (_request, { identity }) => ({ text: identity?.subject ?? "" }),
      }),
  }),
]);

/** What a caller is told over HTTP. */
interface Told {
  readonly status: number;
  readonly challenge: string | null;
  readonly body: Readonly<Record<string, unknown>>;
}

async function startService(jwks: string) {
  const main = { issuer: "test-issuer", audiences: ["other", "test"], algorithms: ["ES256", "RS256", "EdDSA"], jwks };
  const defaults = { http: { port: 0 }, grpc: { port: 0 }, auth: { issuers: { main } } };
  const modules = [coreModule, httpModule, grpcModule, jwtModule, whoAmI];
  const app = await testApp({ name: "who", modules, config: { defaults } });
  const url = `http://127.0.0.1:${app.get(httpServer).port}/me`;
  const client = new EchoClient(app.get(grpcServer).port);
  return {
    async ask(token: string): Promise<Told> {
      const reply = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
      const body = (await reply.json()) as Told["body"];
      return { status: reply.status, challenge: reply.headers.get("www-authenticate"), body };
    },
    call: (token: string) => client.say({}, { metadata: { authorization: `Bearer ${token}` } }),
    async refusals(fault: string): Promise<number> {
      const { body } = await app.get(metrics).expose();
      return Number(new RegExp(`^auth_token_refusals_total\\{reason="${fault}"\\} (\\d+)`, "m").exec(body)?.[1] ?? 0);
    },
    log: () => JSON.stringify(app.logged.lines),
    async [Symbol.asyncDispose]() {
      client.close();
      await app.stop();
    },
  };
}

type Service = Awaited<ReturnType<typeof startService>>;

const unauthenticated = 16;
const unavailable = 14;

describe("a service shown a token", () => {
  let issuer: TestIssuer;
  let service: Service;
  before(async () => {
    issuer = await startIssuer(es, rsa, ed);
    service = await startService(issuer.url);
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await issuer?.close();
  });

  for (const [name, make] of Object.entries(valid)) {
    it(`takes one with ${name}, over HTTP and gRPC`, async () => {
      assert.deepEqual((await service.ask(make())).body, { subject: "alice" });
      assert.equal((await service.call(make())).text, "alice");
    });
  }

  for (const [name, [fault, make]] of Object.entries(invalid)) {
    it(`refuses one with ${name}, over HTTP and gRPC, in constant words`, async () => {
      const before = await service.refusals(fault);
      const { status, challenge, body } = await service.ask(make());
      assert.deepEqual(
        [status, challenge, body["code"], body["detail"]],
        [401, 'Bearer realm="plinth", error="invalid_token"', "ERR_UNAUTHENTICATED", "the token is not valid"],
      );
      const failure = await failureOf(service.call(make()));
      assert.deepEqual(
        [failure.code, failure.message, failure.info?.reason],
        [unauthenticated, "the token is not valid", "ERR_UNAUTHENTICATED"],
      );
      assert.equal(await service.refusals(fault), before + 2);
    });
  }

  it("refuses one that expired longer ago than the skew, also when it was taken before", async () => {
    const expired = tokenOf(es, { exp: Math.floor(Date.now() / 1e3) - 61 });
    assert.equal((await service.ask(expired)).body["detail"], "the token has expired");
    assert.equal((await failureOf(service.call(expired))).message, "the token has expired");
  });

  it("reads none of 1 MiB, and serves the next caller", async () => {
    const token = tokenOf(es, { pad: "x".repeat(1_048_576) });
    const outcome = await service.ask(token).then(
      ({ status }) => status,
      () => "broken off",
    );
    assert.ok(outcome === 431 || outcome === "broken off", String(outcome));
    await failureOf(service.call(token));
    assert.equal((await service.ask(tokenOf(es))).status, 200);
    assert.equal((await service.call(tokenOf(es))).text, "alice");
  });

  it("takes neither of two that differ by a character, for the other's sake", async () => {
    const good = tokenOf(es);
    assert.equal((await service.ask(good)).status, 200);
    const [head = "", , signature = ""] = good.split(".");
    const forged = `${head}.${tokenOf(es, { sub: "root" }).split(".")[1]}.${signature}`;
    assert.equal((await service.ask(forged)).status, 401);
  });

  it("asks its issuer at most once for very many unknown keys, and takes known ones meanwhile", async () => {
    const { fetches } = issuer;
    const strangers = Array.from({ length: 200 }, async () => {
      const token = tokenOf(es, {}, { kid: randomBytes(8).toString("hex") });
      assert.equal((await service.ask(token)).status, 401);
    });
    assert.equal((await service.ask(tokenOf(es))).status, 200);
    await Promise.all(strangers);
    assert.ok(issuer.fetches - fetches <= 1, `${issuer.fetches - fetches} fetches`);
  });

  it("writes nothing of any token in its log", () => {
    const log = service.log();
    for (const part of tokenOf(es).split(".").slice(0, 1)) assert.ok(!log.includes(part), "a header is in the log");
    assert.doesNotMatch(log, /eyJ[\w-]+\.eyJ/);
  });
});

describe("the keys of a service", () => {
  const jwk = es.jwk;
  const answers = {
    "status 500": { status: 500, body: "" },
    "status 404": { status: 404, body: "" },
    HTML: { status: 200, body: "<html>" },
    "more than it may": { status: 200, body: JSON.stringify({ keys: [jwk], pad: "x".repeat(600_000) }) },
    "a redirect to elsewhere": { status: 302, body: "", headers: { location: "http://169.254.169.254/jwks" } },
    "two keys of one id": { status: 200, body: JSON.stringify({ keys: [jwk, { ...rsa.jwk, kid: "es" }] }) },
    "nothing but a shared secret": {
      status: 200,
      body: JSON.stringify({ keys: [{ kty: "oct", k: "AAAA", kid: "es" }] }),
    },
    "nothing but a private key": {
      status: 200,
      body: JSON.stringify({ keys: [{ ...es.privateKey.export({ format: "jwk" }), kid: "es", alg: "ES256" }] }),
    },
  };
  for (const [name, answer] of Object.entries(answers)) {
    it(`are none that are ${name}: 503, and no refusal of the token`, async () => {
      await using issuer = await startIssuer(es);
      issuer.answer = answer;
      await using service = await startService(issuer.url);
      const { status, body } = await service.ask(tokenOf(es));
      assert.deepEqual([status, body["code"]], [503, "ERR_AUTH_UNAVAILABLE"]);
      assert.equal((await failureOf(service.call(tokenOf(es)))).code, unavailable);
      issuer.answer = { keys: [es] };
    });
  }

  it("that are replaced are known at the next token, and one that was taken before is refused", async () => {
    const second = signingKey("second");
    await using issuer = await startIssuer(es);
    await using service = await startService(issuer.url);
    const old = tokenOf(es);
    for (let time = 0; time < 2; time++) assert.equal((await service.ask(old)).status, 200);
    issuer.answer = { keys: [second] };
    assert.equal((await service.ask(tokenOf(second))).status, 200);
    assert.equal((await service.ask(old)).status, 401);
    assert.equal((await failureOf(service.call(old))).code, unauthenticated);
  });

  it("stay when the issuer says garbage later, or nothing at all", async () => {
    await using issuer = await startIssuer(es);
    await using service = await startService(issuer.url);
    assert.equal((await service.ask(tokenOf(es))).status, 200);
    issuer.answer = { status: 200, body: '{"keys":[]}' };
    assert.equal((await service.ask(tokenOf(es, {}, { kid: "unknown" }))).status, 401);
    assert.equal((await service.ask(tokenOf(es, { sub: "bob" }))).body["subject"], "bob");
    await issuer.close();
    assert.equal((await service.ask(tokenOf(es, { sub: "carol" }))).body["subject"], "carol");
  });
});
