import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, it } from "node:test";
import { FakeClock, until } from "@plinth/kernel/testing";
import { parseGatewayDocument } from "../config/document.ts";
import type { GatewayDocument } from "../config/schema.ts";
import { httpInstance, openRoute, type Scripted, startGateway } from "../testing/kit.ts";

type Route = Partial<GatewayDocument["routes"][number]>;
type Service = NonNullable<GatewayDocument["services"]>[string];

/** A request that an instance has, and how it was answered: tests do that. */
interface Held {
  /** 0, 1…: which instance it came to. */
  readonly at: number;
  readonly body: string;
  readonly hasGone: boolean;
  answer(status: number, text: string): void;
  cut(): void;
  /** Sends the head and a part of a body. */
  begin(): void;
}

/** A gateway in front of instances that answer when told; nothing is sent again but by hedging, unless `route` says so. */
async function start(
  route: Route = {},
  { instances = 2, service = {} }: { readonly instances?: number; readonly service?: Service } = {},
) {
  const clock = new FakeClock();
  const held: Held[] = [];
  const servers: Scripted[] = [];
  for (let at = 0; at < instances; at++) {
    servers.push(
      await httpInstance((request: IncomingMessage, response: ServerResponse) => {
        let body = "";
        let hasGone = false;
        request.on("data", (chunk: Buffer) => (body += chunk.toString()));
        response.on("close", () => (hasGone = !response.writableFinished));
        request.on("end", () =>
          held.push({
            at,
            body,
            get hasGone() {
              return hasGone;
            },
            answer: (status, text) => void response.writeHead(status).end(text),
            cut: () => request.socket.destroy(),
            begin: () => void response.writeHead(200).write("half"),
          }),
        );
      }),
    );
  }
  const s = { static: servers.map(({ port }) => `127.0.0.1:${port}`), ...service };
  const document = { services: { s }, routes: [openRoute({ hedging: { afterMs: 100 }, ...route })] };
  const kit = await startGateway({ document, clock });
  return {
    kit,
    clock,
    held,
    /** Waits until instances have so many requests. */
    has: (count: number) => until(() => (held.length >= count ? held.slice(0, count) : undefined)),
    send: async (init: RequestInit = {}) => {
      const reply = await fetch(kit.url, init);
      const text = await reply.text();
      return reply.status === 200 ? text : `${reply.status} ${/"reason":"(\w+)"/.exec(text)?.[1] ?? text}`;
    },
    hedges: async () => (await kit.metrics()).match(/^gateway_upstream_hedges_total\{.*/gm)?.join(" ") ?? "none",
    idle: () => kit.gateway.describe().services[0]?.instances.every(({ inFlight }) => inFlight === 0),
    [Symbol.asyncDispose]: async () => {
      await kit[Symbol.asyncDispose]();
      for (const server of servers) await server.close();
    },
  };
}

describe("hedging of a route", { timeout: 30_000 }, () => {
  it("asks another instance beside a slow one, and breaks off the one that did not win", async () => {
    await using test = await start();
    const reply = test.send();
    await test.has(1);
    await test.clock.advance(99);
    assert.equal(test.held.length, 1);
    await test.clock.advance(1);
    const [first, second] = await test.has(2);
    assert.notEqual(first?.at, second?.at);
    second?.answer(200, "hedge");
    assert.equal(await reply, "hedge");
    await until(() => first?.hasGone);
    assert.ok(test.idle());
    assert.match(await test.hedges(), /outcome="won"\} 1/);
    const line = await test.kit.lastLine();
    assert.equal(line["attempts"], 2);
    assert.match(String(line["instance"]), /^s@127/);
  });

  it("takes the first try's reply where that comes first, and leaves the hedge", async () => {
    await using test = await start();
    const reply = test.send();
    await test.has(1);
    await test.clock.advance(100);
    const [first, second] = await test.has(2);
    first?.answer(200, "first");
    assert.equal(await reply, "first");
    await until(() => second?.hasGone);
    assert.ok(test.idle());
    assert.match(await test.hedges(), /outcome="lost"\} 1/);
  });

  it("sends nothing twice that is answered in time", async () => {
    await using test = await start();
    const reply = test.send();
    const [first] = await test.has(1);
    first?.answer(200, "first");
    assert.equal(await reply, "first");
    await test.clock.advance(1_000);
    assert.equal(test.held.length, 1);
    assert.equal(await test.hedges(), "none");
  });

  it("waits for the other when one fails, by its status or its connection, whichever it is", async () => {
    for (const bad of [0, 1]) {
      for (const fail of [(held?: Held) => held?.answer(503, "no"), (held?: Held) => held?.cut()]) {
        await using test = await start();
        const reply = test.send();
        await test.has(1);
        await test.clock.advance(100);
        const both = await test.has(2);
        fail(both[bad]);
        await until(async () => /attempts_total\{[^}]*outcome="(?:reply|reset)"\} 1/.test(await test.kit.metrics()));
        both[1 - bad]?.answer(200, "good");
        assert.equal(await reply, "good");
        assert.ok(test.idle());
      }
    }
  });

  it("answers with what the last one says when all fail", async () => {
    for (const last of [0, 1]) {
      await using test = await start();
      const replies = [test.send()];
      await test.has(1);
      await test.clock.advance(100);
      const both = await test.has(2);
      both[1 - last]?.answer(503, "first");
      await until(async () => /attempts_total\{[^}]*outcome="reply"\} 1/.test(await test.kit.metrics()));
      both[last]?.cut();
      assert.deepEqual(await Promise.all(replies), ["502 upstream_reset"]);
      assert.ok(test.idle());
    }
  });

  it("passes a failing reply on when no other try is under way", async () => {
    await using test = await start();
    const reply = test.send();
    await test.has(1);
    await test.clock.advance(100);
    const [first, second] = await test.has(2);
    first?.cut();
    await until(async () => (await test.kit.metrics()).includes('outcome="reset"} 1'));
    second?.answer(503, "its own words");
    assert.equal(await reply, "503 its own words");
  });

  it("is followed by a retry as the route says, when all have failed", async () => {
    await using test = await start({ retries: { attempts: 3 } }, { instances: 3 });
    const reply = test.send();
    await test.has(1);
    await test.clock.advance(100);
    const [first, second] = await test.has(2);
    first?.cut();
    second?.cut();
    await until(async () => {
      await test.clock.advance(100);
      return test.held.length === 3;
    });
    test.held[2]?.answer(200, "third");
    assert.equal(await reply, "third");
  });

  it("breaks off all of them when the client has gone, or the route's time is up", async () => {
    await using test = await start({ timeoutMs: 1_000 });
    const left = new AbortController();
    const gone = test.send({ signal: left.signal }).catch(() => "gone");
    await test.has(1);
    await test.clock.advance(100);
    await test.has(2);
    left.abort();
    assert.equal(await gone, "gone");
    await until(() => test.held.every(({ hasGone }) => hasGone));
    const late = test.send();
    await test.has(3);
    await test.clock.advance(100);
    await test.has(4);
    await test.clock.advance(1_000);
    assert.equal(await late, "504 deadline_exceeded");
    await until(() => test.held.every(({ hasGone }) => hasGone));
    assert.ok(test.idle());
  });

  it("cuts a reply off that its instance breaks off, though it was a hedge's", async () => {
    await using test = await start();
    const reply = test.send().catch(() => "cut off");
    await test.has(1);
    await test.clock.advance(100);
    const [, second] = await test.has(2);
    second?.begin();
    await until(async () => (await test.hedges()).includes("won"));
    second?.cut();
    assert.equal(await reply, "cut off");
    await until(() => test.idle());
  });

  it("sends a body twice only where it has come whole, and no POST", async () => {
    await using test = await start();
    const put = test.send({ method: "PUT", body: "whole" });
    await test.has(1);
    await test.clock.advance(100);
    const [, second] = await test.has(2);
    assert.equal(second?.body, "whole");
    second?.answer(200, "put");
    assert.equal(await put, "put");
    for (const init of [
      { method: "PUT", body: "x".repeat(100_000) },
      { method: "POST", body: "x" },
    ]) {
      const [before, sent] = [test.held.length, await test.hedges()];
      const reply = test.send(init);
      await test.has(before + 1);
      await test.clock.advance(1_000);
      assert.equal(test.held.length, before + 1, init.method);
      test.held.at(-1)?.answer(200, "once");
      assert.equal(await reply, "once");
      assert.equal(await test.hedges(), sent);
    }
  });

  it("asks as many as it may, each after the same time, and nobody twice", async () => {
    await using test = await start({ hedging: { afterMs: 100, max: 3 } }, { instances: 3 });
    const reply = test.send();
    for (const count of [1, 2, 3]) {
      await test.has(count);
      await test.clock.advance(100);
    }
    await test.clock.advance(1_000);
    assert.deepEqual(
      test.held.map(({ at }) => at).toSorted((one, other) => one - other),
      [0, 1, 2],
    );
    test.held[1]?.answer(200, "middle");
    assert.equal(await reply, "middle");
    await until(() => test.held[0]?.hasGone === true && test.held[2]?.hasGone === true);
    assert.match(await test.hedges(), /outcome="won"\} 1 .*outcome="lost"\} 1/);
  });

  it("stays within the budget that retries have, and the places of the service", async () => {
    await using test = await start({}, { service: { caps: { maxConnections: 1 } } });
    const held = [test.send(), test.send()];
    await test.has(2);
    await test.clock.advance(100);
    assert.equal(test.held.length, 2, "both instances are busy");
    for (const each of test.held) each.answer(200, "done");
    await Promise.all(held);
    let hedged = 0;
    for (let turn = 0; turn < 6; turn++) {
      const before = test.held.length;
      const reply = test.send();
      await test.has(before + 1);
      await test.clock.advance(100);
      if (test.kit.gateway.describe().services[0]?.instances.every(({ inFlight }) => inFlight === 1) === true) {
        await test.has(before + 2);
        hedged++;
      }
      test.held[before]?.answer(200, "done");
      await reply;
    }
    assert.equal(hedged, 3, "of so few requests three may be repeated");
  });

  it("is refused where the route takes no request that may be sent twice", () => {
    const route = openRoute({ match: { path: "/x", methods: ["POST"] }, hedging: {} });
    assert.throws(() => parseGatewayDocument({ routes: [route] }), { message: /may be sent twice/ });
  });
});
