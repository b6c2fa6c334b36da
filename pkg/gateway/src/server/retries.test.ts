import assert from "node:assert/strict";
import type { RequestListener } from "node:http";
import { describe, it } from "node:test";
import { type Clock, systemClock } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import type { GatewayDocument } from "../config/schema.ts";
import { echo, httpInstance, openRoute, type Scripted, startGateway, type TestGateway } from "../testing/kit.ts";

type Retries = GatewayDocument["routes"][number]["retries"];

/** A gateway whose service has a first instance that does as told, and others that echo. Each says how often it was asked. */
async function startPair(
  bad: RequestListener,
  retries: Retries = {},
  { others = 1, timeoutMs = 30_000, clock = systemClock }: { others?: number; timeoutMs?: number; clock?: Clock } = {},
) {
  const asked = { bad: 0, good: 0 };
  const instances: Scripted[] = [
    await httpInstance((request, response) => {
      asked.bad++;
      bad(request, response);
    }),
  ];
  for (let index = 0; index < others; index++) {
    instances.push(
      await httpInstance((request, response) => {
        asked.good++;
        echo(request, response);
      }),
    );
  }
  const kit = await startGateway({ routes: [openRoute({ retries, timeoutMs })], clock });
  for (const instance of instances) await kit.add(instance);
  return {
    kit,
    asked,
    [Symbol.asyncDispose]: async () => {
      await kit[Symbol.asyncDispose]();
      for (const instance of instances) await instance.close();
    },
  };
}

const refuse: RequestListener = (_request, response) => response.writeHead(503).end("away");

/** Asks until the bad instance has been asked at least once, and gives all statuses. */
async function askUntilBad(
  { kit, asked }: { readonly kit: TestGateway; readonly asked: { readonly bad: number } },
  init: RequestInit = {},
): Promise<number[]> {
  const statuses: number[] = [];
  await until(async () => {
    const reply = await fetch(`${kit.url}/x`, init);
    await reply.arrayBuffer();
    statuses.push(reply.status);
    return asked.bad > 0;
  });
  return statuses;
}

describe("retries of a route", { timeout: 20_000 }, () => {
  it("ask another instance when one says that it cannot serve", async () => {
    await using pair = await startPair(refuse);
    assert.deepEqual(new Set(await askUntilBad(pair)), new Set([200]));
    assert.match(await pair.kit.metrics(), /gateway_upstream_retries_total\{service="s"\} [1-9]/);
  });

  it("are made of no request that may not be sent twice", async () => {
    await using pair = await startPair(refuse);
    const statuses = await askUntilBad(pair, { method: "POST", body: "x" });
    assert.equal(statuses.at(-1), 503);
    assert.equal(statuses.filter((status) => status === 503).length, pair.asked.bad);
  });

  it("send a body again as it was", async () => {
    await using pair = await startPair((request, response) => {
      request.resume().on("end", () => response.writeHead(503).end());
    });
    const bodies: string[] = [];
    await until(async () => {
      const reply = await fetch(`${pair.kit.url}/x`, { method: "PUT", body: "the whole of it" });
      assert.equal(reply.status, 200);
      bodies.push(((await reply.json()) as { body: string }).body);
      return pair.asked.bad > 0;
    });
    assert.deepEqual(new Set(bodies), new Set(["the whole of it"]));
  });

  it("ask another instance when a connection breaks before the reply", async () => {
    const cut: RequestListener = (request) => request.socket.resetAndDestroy();
    await using pair = await startPair(cut);
    assert.deepEqual(new Set(await askUntilBad(pair)), new Set([200]));
    await using none = await startPair(cut, undefined);
    await none.kit.gateway.reload({ routes: [openRoute()] });
    assert.equal((await askUntilBad(none)).at(-1), 502);
  });

  it("ask another instance when the time of a try is over, and break the first off", async () => {
    let left = 0;
    await using pair = await startPair((request) => void request.socket.on("close", () => left++), {
      perTryTimeoutMs: 50,
    });
    assert.deepEqual(new Set(await askUntilBad(pair)), new Set([200]));
    await until(() => left === pair.asked.bad);
  });

  it("end with the reason of the last try", async () => {
    await using pair = await startPair(() => undefined, { perTryTimeoutMs: 30, attempts: 3 }, { others: 0 });
    const reply = await fetch(`${pair.kit.url}/x`);
    assert.equal(reply.status, 504);
    assert.equal(((await reply.json()) as { reason: string }).reason, "upstream_timeout");
    assert.equal(pair.asked.bad, 3);
  });

  it("are made after those statuses alone that the route names", async () => {
    await using pair = await startPair((_request, response) => response.writeHead(502).end(), { on: [503] });
    assert.equal((await askUntilBad(pair)).at(-1), 502);
  });

  it("pass the reply on when the instance asks for more time than there is", async () => {
    await using pair = await startPair(
      (_request, response) => response.writeHead(503, { "retry-after": "5" }).end("later"),
      {},
      { timeoutMs: 3_000 },
    );
    await until(async () => {
      const reply = await fetch(`${pair.kit.url}/x`);
      const text = await reply.text();
      if (reply.status === 200) return false;
      assert.equal(reply.status, 503);
      assert.equal(reply.headers.get("retry-after"), "5");
      assert.equal(text, "later");
      return true;
    });
  });

  it("add at most a fifth to what a service gets that is down as a whole", async () => {
    await using pair = await startPair(refuse, { attempts: 5 }, { others: 0 });
    const requests = 200;
    for (let done = 0; done < requests; done += 20) {
      await Promise.all(Array.from({ length: 20 }, async () => (await fetch(`${pair.kit.url}/x`)).arrayBuffer()));
    }
    const added = pair.asked.bad - requests;
    assert.ok(added > 0 && added <= requests * 0.2 + 3, `${added} more than ${requests}`);
  });

  it("are made no more when the client has left", async () => {
    const leaving = new AbortController();
    const clock = new FakeClock();
    await using pair = await startPair(
      (_request, response) => {
        response.writeHead(503, { "retry-after": "1" }).end();
        setImmediate(() => leaving.abort());
      },
      {},
      { others: 0, clock },
    );
    await assert.rejects(fetch(`${pair.kit.url}/x`, { signal: leaving.signal }), { name: "AbortError" });
    const line = await pair.kit.lastLine();
    assert.equal(line["reason"], "client_gone");
    await clock.advance(2_000);
    await until(async () => (await pair.kit.metrics()).includes("gateway_requests_in_flight 0"));
    assert.equal(pair.asked.bad, 1);
  });
});
