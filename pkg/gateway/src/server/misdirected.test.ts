import assert from "node:assert/strict";
import type { RequestListener } from "node:http";
import { describe, it } from "node:test";
import { echo, httpInstance, type Scripted, startGateway, type TestGateway } from "../testing/kit.ts";

const wrong: RequestListener = (request, response) => {
  request.resume().on("end", () => response.writeHead(421, { "content-type": "application/problem+json" }).end("{}"));
};

function add({ registry }: TestGateway, { port }: Scripted, id: string, identity?: string): Promise<unknown> {
  return registry.register({ service: "s", id, host: "127.0.0.1", ports: { http: port }, identity });
}

function streamed(length: number): ReadableStream<Uint8Array> {
  return new Blob(["x".repeat(length)]).stream();
}

describe("a gateway and the instances that look at whom a call is for", () => {
  it("names the instance, and lets no client name one", async () => {
    await using knowing = await httpInstance(echo);
    await using gateway = await startGateway();
    await add(gateway, knowing, "a", "a-1");
    const headers = { "plinth-instance": "chosen" };
    const seen: unknown = await (await fetch(gateway.url, { headers })).json();
    assert.partialDeepStrictEqual(seen, { headers: { "plinth-instance": ["a-1"] } });
  });

  it("names none to an instance that does not look, and hands its 421 on", async () => {
    const seen: unknown[] = [];
    await using plain = await httpInstance((request, response) => {
      seen.push(request.headers["plinth-instance"]);
      wrong(request, response);
    });
    await using gateway = await startGateway();
    await add(gateway, plain, "a");
    assert.equal((await fetch(gateway.url, { headers: { "plinth-instance": "a" } })).status, 421);
    assert.deepEqual(new Set(seen), new Set([undefined])); // fetch asks once more at a 421
  });

  for (const [what, init] of [
    ["GET", () => ({})],
    ["POST with a body", () => ({ method: "POST", body: "x".repeat(60_000) })],
    ["POST with a body of unknown length", () => ({ method: "POST", body: streamed(60_000), duplex: "half" as const })],
  ] as const) {
    it(`sends a ${what} that a wrong instance refuses to the right one, whole, and asks the wrong one no more`, async () => {
      let refused = 0;
      await using taken = await httpInstance((request, response) => {
        refused++;
        wrong(request, response);
      });
      await using right = await httpInstance(echo);
      await using gateway = await startGateway();
      await add(gateway, taken, "a", "a");
      await add(gateway, right, "b", "b");
      const expected = { body: what === "GET" ? "" : "x".repeat(60_000), headers: { "plinth-instance": ["b"] } };
      for (let count = 0; count < 20; count++) {
        const reply = await fetch(gateway.url, init());
        const got: unknown = await reply.json();
        assert.equal(reply.status, 200);
        assert.partialDeepStrictEqual(got, expected);
      }
      assert.equal(refused, 1);
      assert.deepEqual(gateway.reports, []);
    });
  }

  it("answers 502 with a reason of its own where there is no other, and where too much of the body is gone", async () => {
    await using taken = await httpInstance(wrong);
    await using gateway = await startGateway();
    await add(gateway, taken, "a", "a");
    const alone = await fetch(gateway.url);
    assert.partialDeepStrictEqual(
      [alone.status, await alone.json()],
      [502, { code: "ERR_GATEWAY_UPSTREAM_MISDIRECTED", retryable: true }],
    );
    await using right = await httpInstance(wrong);
    await add(gateway, right, "b", "b");
    const long = await fetch(gateway.url, { method: "POST", body: "x".repeat(70_000) });
    assert.partialDeepStrictEqual(await long.json(), { reason: "upstream_misdirected" });
    assert.match(await gateway.metrics(), /outcome="misdirected"/);
  });
});
