import assert from "node:assert/strict";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { FakeClock, until } from "@plinth/kernel/testing";
import type { GatewayDocument } from "../config/schema.ts";
import { signingKey, tokenOf } from "../testing/issuer.ts";
import { startGateway, type TestGateway } from "../testing/kit.ts";

const folder = mkdtempSync(join(tmpdir(), "plinth-revocations-"));
after(() => rmSync(folder, { recursive: true }));

const es = signingKey("es");
const document: GatewayDocument = {
  jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: { keys: [es.jwk] } } },
  routes: [{ name: "all", match: { path: "/**" }, service: "none", auth: {} }],
};

/** Why a token is not enough; `no_instance` when it is, since the service has none. */
async function reasonFor(running: TestGateway, token: string): Promise<unknown> {
  const reply = await fetch(running.url, { headers: { authorization: `Bearer ${token}` } });
  return Reflect.get(Object(await reply.json()), "reason");
}

describe("revocations of a gateway", () => {
  it("count from the next request, also for tokens that were verified before, and go as they came", async () => {
    await using running = await startGateway({ document });
    const { revocations } = running.gateway;
    const own = tokenOf(es, { jti: "t1" });
    const others = tokenOf(es, { jti: "t2", sub: "bob" });
    assert.deepEqual([await reasonFor(running, own), await reasonFor(running, others)], ["no_instance", "no_instance"]);
    revocations.add({ jti: "t1" });
    for (let time = 0; time < 2; time++) assert.equal(await reasonFor(running, own), "token_invalid");
    assert.equal((await running.lines(4)).at(-1)?.auth, "revoked");
    assert.equal(await reasonFor(running, others), "no_instance");
    revocations.add({ subject: "bob", issuer: "test-issuer" });
    assert.equal(await reasonFor(running, others), "token_invalid");
    assert.equal(await reasonFor(running, tokenOf(es, { jti: "t3", sub: "bob" })), "token_invalid", "a fresh one too");
    revocations.remove({ subject: "bob", issuer: "test-issuer" });
    assert.equal(await reasonFor(running, others), "no_instance");
    const now = Math.floor(Date.now() / 1e3);
    revocations.add({ issuedBeforeMs: now * 1e3 });
    assert.equal(await reasonFor(running, tokenOf(es, { iat: now - 1 })), "token_invalid");
    assert.equal(await reasonFor(running, tokenOf(es, { iat: now })), "no_instance");
    await running.gateway.reload({
      ...document,
      routes: document.routes.map((route) => ({ ...route, timeoutMs: 1_000 })),
    });
    assert.equal(await reasonFor(running, own), "token_invalid", "another document changes nothing about it");
    assert.match(await running.metrics(), /^gateway_revocations 2$/m);
  });

  it("come from a file, and from another that takes its place; a fault in it changes nothing and is told", async () => {
    const file = join(folder, "revocations.yaml");
    const publish = (text: string): void => {
      writeFileSync(`${file}.next`, text);
      renameSync(`${file}.next`, file);
    };
    publish(
      "revocations:\n  - { jti: t1, until: 2999-01-01T00:00:00Z }\n  - { subject: gone, issuedBefore: 2000-01-01T00:00:00Z }\n",
    );
    const clock = new FakeClock();
    const times = { iat: undefined, exp: 4_000_000_000 };
    await using running = await startGateway({ document, settings: { revocations: file }, clock });
    const own = tokenOf(es, { jti: "t1", ...times });
    const other = tokenOf(es, { jti: "t2", ...times });
    assert.deepEqual(
      [await reasonFor(running, own), await reasonFor(running, other)],
      ["token_invalid", "no_instance"],
    );
    publish("revocations:\n  - { jit: t2 }\n");
    const report = await until(async () => {
      await clock.advance(1_000); // the watch looks twice, and each time at the disk
      return running.reports.find(({ error }) => error.code === "ERR_GATEWAY_CONFIG");
    });
    assert.match(report.error.message, /revocations\.0\.jit: unknown key; did you mean "jti"/);
    assert.deepEqual(
      [await reasonFor(running, own), await reasonFor(running, other)],
      ["token_invalid", "no_instance"],
    );
    publish("revocations:\n  - { jti: t2 }\n");
    await until(async () => {
      await clock.advance(1_000);
      return (await reasonFor(running, other)) === "token_invalid";
    });
    assert.equal(await reasonFor(running, own), "no_instance");
  });

  it("that cannot be read at the start are a fault: nobody is let in whom they might refuse", async () => {
    const file = join(folder, "faulty.yaml");
    for (const [text, expected] of [
      [undefined, /gateway\.revocations/],
      ["revocations:\n  - { issuer: x }\n", /expected one of jti, subject and issuedBefore/],
      ["revocations:\n  - { jti: x, until: tomorrow }\n", /faulty\.yaml:2/],
      ["[]", /faulty\.yaml:1/],
    ] as const) {
      if (text !== undefined) writeFileSync(file, text);
      await assert.rejects(startGateway({ document, settings: { revocations: file } }), {
        code: "ERR_GATEWAY_CONFIG",
        message: expected,
      });
    }
  });
});
