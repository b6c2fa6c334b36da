import assert from "node:assert/strict";
import { createServer } from "node:http";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { signingKey, startIssuer } from "./testing/issuer.ts";
import { echo, httpInstance, openRoute, rawClient, startGateway } from "./testing/kit.ts";

describe("a reload", { timeout: 20_000 }, () => {
  it("takes the whole document over at once, and tells what it changed", async () => {
    await using one = await httpInstance(echo);
    await using two = await httpInstance(echo);
    await using kit = await startGateway({
      routes: [
        openRoute({ name: "stays", match: { path: "/stays" } }),
        openRoute({ name: "goes", match: { path: "/goes" } }),
        openRoute({ name: "moves", match: { path: "/moves" } }),
      ],
    });
    await kit.add(one);
    await kit.add(two, "t");
    const changes = await kit.gateway.reload({
      routes: [
        openRoute({ name: "stays", match: { path: "/stays" } }),
        openRoute({ name: "moves", match: { path: "/moves" }, service: "t" }),
        openRoute({ name: "comes", match: { path: "/comes" } }),
      ],
    });
    assert.deepEqual(changes, { any: true, added: ["comes"], removed: ["goes"], changed: ["moves"] });
    const status = async (path: string): Promise<number> => (await fetch(kit.url + path)).status;
    assert.deepEqual(await Promise.all(["/stays", "/goes", "/moves", "/comes"].map(status)), [200, 404, 200, 200]);
    assert.equal(two.accepted, 1);
  });

  it("says that nothing is new when nothing is", async () => {
    await using kit = await startGateway();
    assert.deepEqual(await kit.gateway.reload({ routes: [openRoute()] }), {
      any: false,
      added: [],
      removed: [],
      changed: [],
    });
  });

  it("refuses a faulty document whole, and goes on with the one before", async () => {
    await using instance = await httpInstance(echo);
    await using kit = await startGateway();
    await kit.add(instance);
    const faulty = { routes: [openRoute({ name: "good" }), openRoute({ name: "good" })] };
    await assert.rejects(kit.gateway.reload(faulty), { code: "ERR_GATEWAY_CONFIG", message: /2 faults/ });
    assert.equal((await fetch(`${kit.url}/x`)).status, 200);
  });

  const many = (path: string) => ({
    routes: Array.from({ length: 600 }, (_, at) =>
      openRoute({ name: `many-${at}`, match: { path: `/${path}/${at}` } }),
    ),
  });

  it("is built between other things when it is large, one after the other", async () => {
    await using kit = await startGateway();
    let turns = 0;
    const tick = (): NodeJS.Immediate => setImmediate(() => (turns++, (last = tick())));
    let last = tick();
    const [one, two] = await Promise.all([kit.gateway.reload(many("one")), kit.gateway.reload(many("two"))]);
    clearImmediate(last);
    assert.ok(turns >= 4, `${turns} turns`);
    assert.deepEqual([one.added.length, two.changed.length], [600, 600]);
    assert.equal((await fetch(`${kit.url}/one/599`)).status, 404);
    assert.equal((await fetch(`${kit.url}/two/599`)).status, 503);
  });

  it("that is being built when the gateway closes is let go", async () => {
    await using kit = await startGateway();
    const reloading = kit.gateway.reload({ routes: [openRoute({ name: "t", service: "t" }), ...many("one").routes] });
    setImmediate(() => void kit.gateway.close());
    await assert.rejects(reloading, { code: "ERR_GATEWAY_STATE" });
    assert.equal(kit.gateway.describe().document.routes.length, 1);
    assert.deepEqual(kit.registry.stats().services, []);
  });

  it("leaves places as they are when the document is refused, or let go before it was taken", async () => {
    const held: (() => void)[] = [];
    await using instance = await httpInstance((_request, response) => void held.push(() => response.end()));
    const { anonymous: _open, ...closed } = openRoute();
    const capped = (maxInFlight: number, maxWaitMs = 100) => ({ concurrency: { maxInFlight, maxQueue: 0, maxWaitMs } });
    await using kit = await startGateway({ routes: [openRoute(capped(2))] });
    await kit.add(instance);
    const refused = { routes: [{ ...closed, ...capped(1), auth: { introspect: "instead" as const } }] };
    await assert.rejects(kit.gateway.reload(refused), { code: "ERR_GATEWAY_CONFIG", message: /asks Auth/ });
    for (const next of [openRoute(capped(1)), openRoute(capped(2, 200)), openRoute()])
      (await kit.gateway.prepare({ routes: [next] })).discard();
    const replies = Promise.all([1, 2].map(async () => (await fetch(kit.url)).status));
    await until(() => held.length === 2);
    assert.equal((await fetch(kit.url)).status, 503);
    assert.match(await kit.metrics(), /gateway_concurrency_in_flight\{route="all"\} 2/);
    for (const release of held.splice(0)) release();
    assert.deepEqual(await replies, [200, 200]);
    await kit.gateway.reload({ routes: [openRoute(capped(1, 200))] });
    assert.match(await kit.metrics(), /gateway_concurrency_in_flight\{route="all"\} 0/);
  });

  it("lets requests that have begun end as they began, and keeps client and service connections", async () => {
    let release = (): void => {};
    const begun = Promise.withResolvers<void>();
    const instance = await httpInstance((request, response) => {
      if (request.url !== "/slow") return echo(request, response);
      release = () => response.end("slow");
      begun.resolve();
      return undefined;
    });
    await using other = await httpInstance(echo);
    await using kit = await startGateway();
    await kit.add(instance);
    await kit.add(other, "t");
    const client = await rawClient(kit.gateway.port);
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.matching(/"url":"\/x"/);
    const slow = fetch(`${kit.url}/slow`);
    await begun.promise;
    await kit.gateway.reload({ routes: [openRoute({ service: "t" })] });
    client.send("GET /y HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.matching(/"url":"\/y"/);
    assert.equal(other.accepted, 1, "the same client connection goes by the new document");
    release();
    assert.equal(await (await slow).text(), "slow");
    // the service that no route names any more is let go of with the last request to it
    await until(() => instance.sockets.size === 0);
    client.socket.destroy();
    await instance.close();
  });

  it("keeps the connections to a service that is in both documents", async () => {
    await using instance = await httpInstance(echo);
    await using kit = await startGateway();
    await kit.add(instance);
    await fetch(`${kit.url}/x`);
    await kit.gateway.reload({ routes: [openRoute({ name: "other" })] });
    await fetch(`${kit.url}/x`);
    assert.equal(instance.accepted, 1);
  });

  it("keeps the counts of a limit that is the same in both, and begins anew with another", async () => {
    await using instance = await httpInstance(echo);
    const limited = (limit: number) => [openRoute({ rateLimit: { limit, windowMs: 3_600_000 } })];
    await using kit = await startGateway({ routes: limited(2) });
    await kit.add(instance);
    const left = async (): Promise<string | undefined> =>
      /r=(\d+)/.exec((await fetch(`${kit.url}/x`)).headers.get("ratelimit") ?? "")?.[1];
    assert.equal(await left(), "1");
    await kit.gateway.reload({ routes: [...limited(2), openRoute({ name: "more", match: { path: "/more" } })] });
    assert.equal(await left(), "0");
    await kit.gateway.reload({ routes: limited(5) });
    assert.equal(await left(), "4");
  });

  it("has the keys of a new issuer before its routes count, and fetches those of an old one no more", async () => {
    await using issuer = await startIssuer(signingKey("one"));
    await using instance = await httpInstance(echo);
    const jwt = { main: { issuer: "test-issuer", audiences: ["test"], jwks: issuer.url } };
    const { auth: _none, anonymous: _open, ...route } = openRoute();
    await using kit = await startGateway();
    await kit.add(instance);
    await kit.gateway.reload({ jwt, routes: [{ ...route, auth: {} }] });
    assert.deepEqual(kit.gateway.providersWithoutKeys(), []);
    assert.equal((await fetch(`${kit.url}/x`)).status, 401);
    const before = issuer.fetches;
    await kit.gateway.reload({ jwt, routes: [{ ...route, auth: {}, name: "renamed" }] });
    assert.equal(issuer.fetches, before);
  });

  it("goes on when a new issuer or service does not answer", async () => {
    const silent = createServer(() => {});
    await using kit = await startGateway();
    const jwt = { main: { issuer: "x", audiences: ["test"], jwks: "http://127.0.0.1:1/keys" } };
    const changes = await kit.gateway.reload({
      jwt,
      routes: [openRoute({ name: "late", service: "nobody" })],
    });
    assert.equal(changes.any, true);
    const reply = await fetch(`${kit.url}/x`);
    assert.equal(reply.status, 503);
    silent.close();
  });

  it("takes many at the same time one after the other, and the last one stays", async () => {
    await using instance = await httpInstance(echo);
    await using kit = await startGateway();
    await kit.add(instance);
    const documents = Array.from({ length: 50 }, (_, at) => ({
      routes: [openRoute({ name: `number-${at}`, match: { path: `/number-${at}` } })],
    }));
    await Promise.all(documents.map((document) => kit.gateway.reload(document)));
    assert.equal((await fetch(`${kit.url}/number-49`)).status, 200);
    assert.equal((await fetch(`${kit.url}/number-48`)).status, 404);
  });

  it("is refused once the gateway drains", async () => {
    await using kit = await startGateway();
    await kit.gateway.drain();
    await assert.rejects(kit.gateway.reload({ routes: [] }), { code: "ERR_GATEWAY_STATE" });
  });
});
