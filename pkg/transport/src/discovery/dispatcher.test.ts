import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer as createTlsServer } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, it } from "node:test";
import { FakeClock, freePort, until } from "@plinth/kernel/testing";
import { createMemoryRegistry, createMemoryStore, type Registry } from "@plinth/registry";
import { request } from "undici";
import { makeCertificate } from "../testing/certificates.ts";
import { startInstance, type TestInstance } from "../testing/instances.ts";
import { createServiceDispatcher, type ServiceDispatcher, type ServiceDispatcherOptions } from "./dispatcher.ts";

/** A registry of one store, and a dispatcher on it; both end with the `await using` block, the dispatcher first. */
interface World extends AsyncDisposable {
  readonly registry: Registry;
  readonly dispatcher: ServiceDispatcher;
  /** The text of a reply, or the code of what it failed with. */
  get(url?: string, init?: RequestInit): Promise<string>;
  start(
    id: string,
    listener?: (seen: IncomingMessage, reply: ServerResponse) => void,
    more?: Parameters<typeof startInstance>[3],
  ): Promise<TestInstance>;
}

async function world(options: Partial<ServiceDispatcherOptions> = {}): Promise<World> {
  const registry = createMemoryRegistry();
  const dispatcher = await createServiceDispatcher({ registry, connectTimeoutMs: 10_000, ...options });
  const instances: TestInstance[] = [];
  return {
    registry,
    dispatcher,
    get: async (url = "http://notes/things", init = {}) => {
      try {
        const reply = await fetch(url, { ...init, dispatcher });
        return await reply.text();
      } catch (error) {
        return codeOf(error);
      }
    },
    async start(...args) {
      const instance = await startInstance(registry, ...args);
      instances.push(instance);
      return instance;
    },
    async [Symbol.asyncDispose]() {
      await dispatcher.destroy();
      await Promise.all(instances.map((instance) => instance[Symbol.asyncDispose]()));
      await registry.close();
    },
  };
}

function codeOf(error: unknown): string {
  const cause = error instanceof TypeError && error.cause !== undefined ? error.cause : error;
  return cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
}

/** Until the dispatcher has followed the registry so far: what is told takes a few turns of the event loop. */
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0).unref());

describe("a service dispatcher", () => {
  it("leads fetch and undici to the instances by the name of the service, which is the host they are told", async () => {
    await using notes = await world();
    const heads: (string | undefined)[] = [];
    const listener = (seen: IncomingMessage, reply: ServerResponse): void => {
      heads.push(seen.headers.host);
      reply.end(`${seen.method} ${seen.url}`);
    };
    const [a, b] = [await notes.start("a", listener), await notes.start("b", listener)];
    assert.equal(await notes.get("http://notes/things?x=1"), "GET /things?x=1");
    const { body, statusCode } = await request("http://notes/more", {
      dispatcher: notes.dispatcher,
      method: "POST",
      body: "{}",
    });
    assert.deepEqual([statusCode, await body.text()], [200, "POST /more"]);
    await Promise.all(Array.from({ length: 20 }, () => notes.get()));
    assert.ok(a.hits > 0 && b.hits > 0, `${a.hits} and ${b.hits}`);
    assert.deepEqual([...new Set(heads)], ["notes"]);
    assert.equal(await notes.get("http://notes/", { headers: { host: "others.example" } }), "GET /");
  });

  it("is told of requests with headers in every form that undici takes", async () => {
    await using notes = await world();
    await notes.start("a", (seen, reply) => void reply.end(`${seen.headers.host} ${String(seen.headers["x-a"])}`));
    const url = "http://notes/";
    const { dispatcher } = notes;
    for (const headers of [
      ["x-a", "1"],
      { "x-a": "1" },
      new Map([["x-a", "1"]]),
      { "x-a": ["1"] },
      new Headers({ "x-a": "1" }),
    ]) {
      const { body } = await request(url, { dispatcher, headers });
      assert.equal(await body.text(), "notes 1");
    }
    const { body } = await request(url, { dispatcher, headers: { host: "virtual", "x-a": "1" } });
    assert.equal(await body.text(), "virtual 1");
  });

  it("fails at once where there is no instance, and works again as soon as there is one", async () => {
    await using notes = await world();
    assert.equal(await notes.get(), "ERR_NO_INSTANCE");
    const a = await notes.start("a");
    await until(async () => (await notes.get()) === "a");
    await a.registration.deregister();
    await until(async () => (await notes.get()) === "ERR_NO_INSTANCE");
    await notes.start("b");
    await until(async () => (await notes.get()) === "b");
    await assert.rejects(request("http://others/", { dispatcher: notes.dispatcher }), {
      code: "ERR_NO_INSTANCE",
      status: "unavailable",
      message: "the registry knows no instance of others that speaks http",
    });
  });

  it("speaks TLS to instances by the service's name, with its own authority and certificate, and with no other", async () => {
    const folder = await mkdtemp(join(tmpdir(), "plinth-dispatcher-"));
    const authority = makeCertificate({ name: "authority" });
    const keep = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const own = makeCertificate({ name: "notes", issuer: authority });
    const client = makeCertificate({ name: "caller", issuer: authority });
    const server = createTlsServer(
      { cert: own.cert, key: own.key, ca: authority.cert, requestCert: true, rejectUnauthorized: true },
      ({ headers }, reply) => void reply.end(`secure ${headers.host} ${String(headers["plinth-instance"])}`),
    ).listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const caFile = keep("ca.crt", authority.cert);
      const certFile = keep("tls.crt", client.cert);
      const keyFile = keep("tls.key", client.key);
      const address = server.address();
      const ports = { http: typeof address === "object" && address !== null ? address.port : 0 };
      const at = { service: "notes", id: "a", host: "127.0.0.1", ports, identity: "a" };
      await using test = await world({ tls: { caFile, certFile, keyFile } });
      await test.registry.register(at);
      assert.equal(await test.get("https://notes/things"), "secure notes a");
      await using bare = await world({ tls: { caFile } });
      await bare.registry.register(at);
      assert.notEqual(await bare.get("https://notes/things"), "secure notes a");
      await using strange = await world({
        tls: { caFile: keep("other.crt", makeCertificate({ name: "other" }).cert) },
      });
      await strange.registry.register(at);
      assert.match(await strange.get("https://notes/things"), /UNABLE_TO|SELF_SIGNED|CERT/);
    } finally {
      server.closeAllConnections();
      server.close();
      await rm(folder, { recursive: true });
    }
  });

  it("passes over instances without an http port", async () => {
    await using notes = await world();
    await notes.registry.register({ service: "notes", id: "g", host: "127.0.0.1", ports: { grpc: 1 } });
    assert.equal(await notes.get(), "ERR_NO_INSTANCE");
  });

  it("goes on to another instance where a connection is refused, with the body that was not touched", async () => {
    await using notes = await world();
    const dead = await freePort();
    for (const id of ["x", "y"])
      await notes.registry.register({ service: "notes", id, host: "127.0.0.1", ports: { http: dead } });
    await notes.start("a", (seen, reply) => void seen.pipe(reply));
    for (let at = 0; at < 10; at++) {
      const { body } = await request("http://notes/", {
        dispatcher: notes.dispatcher,
        method: "POST",
        body: Readable.from(["once ", "only"]),
      });
      assert.equal(await body.text(), "once only");
    }
  });

  it("tells the last failure where no instance can be connected to", async () => {
    await using notes = await world();
    const dead = await freePort();
    for (const id of ["x", "y"])
      await notes.registry.register({ service: "notes", id, host: "127.0.0.1", ports: { http: dead } });
    assert.equal(await notes.get(), "ECONNREFUSED");
  });

  it("sends nothing twice that may have arrived", async () => {
    await using notes = await world();
    const breakOff = (seen: IncomingMessage): void => void seen.socket.destroy();
    const [a, b] = [await notes.start("a", breakOff), await notes.start("b", breakOff)];
    assert.equal(await notes.get("http://notes/", { method: "POST", body: "pay" }), "UND_ERR_SOCKET");
    assert.equal(await notes.get(), "UND_ERR_SOCKET");
    assert.equal(a.hits + b.hits, 2);
  });

  it("asks again by GET, and not by POST, where a kept connection was closed just then", async () => {
    await using notes = await world();
    let breaks = false;
    const a = await notes.start("a", (seen, reply) => {
      if (breaks) {
        breaks = false;
        seen.socket.destroy();
      } else reply.end("fine");
    });
    assert.equal(await notes.get(), "fine");
    await settled(); // the connection is free again
    breaks = true;
    assert.equal(await notes.get(), "fine");
    assert.equal(a.hits, 3);
    await settled();
    breaks = true;
    assert.equal(await notes.get("http://notes/", { method: "POST", body: "pay" }), "UND_ERR_SOCKET");
    assert.equal(a.hits, 4);
  });

  it("names the instance where that looks, and goes elsewhere when it says that somebody else is meant", async () => {
    await using notes = await world();
    const named: unknown[] = [];
    const taken = await notes.start("a", (_seen, reply) => void reply.writeHead(421).end(), { identity: "a" });
    const b = await notes.start(
      "b",
      (seen, reply) => {
        named.push(seen.headers["plinth-instance"]);
        reply.end("b");
      },
      { identity: "b" },
    );
    const { dispatcher: by } = notes;
    for (let at = 0; at < 8; at++) {
      const { body } = await request("http://notes/", { dispatcher: by, method: "POST", body: "once" });
      assert.equal(await body.text(), "b");
    }
    assert.equal(b.hits, 8);
    assert.ok(taken.hits <= 1, "once it has said so, it is left out");
    assert.equal(await notes.get("http://notes/", { method: "POST", body: "by fetch, which asks again itself" }), "b");
    assert.deepEqual([...new Set(named)], ["b"]);
    await b.registration.deregister();
    const { dispatcher } = notes;
    await until(
      async () => (await fetch("http://notes/", { dispatcher, headers: { "plinth-instance": "z" } })).status === 421,
    );
  });

  it("finishes what is under way on an instance that leaves, and then closes its connections", async () => {
    await using notes = await world();
    const held = Promise.withResolvers<ServerResponse>();
    const a = await notes.start("a", (_seen, reply) => {
      reply.write("be");
      held.resolve(reply);
    });
    const reply = fetch("http://notes/", { dispatcher: notes.dispatcher });
    const { body } = await reply;
    await a.registration.deregister();
    await notes.start("b");
    await until(async () => (await notes.get()) === "b");
    (await held.promise).end("gun");
    assert.equal(await new Response(body).text(), "begun");
    await until(() => a.sockets.size === 0);
    assert.equal(a.hits, 1);
  });

  it("follows an instance to another address", async () => {
    await using notes = await world();
    const a = await notes.start("a");
    assert.equal(await notes.get(), "a");
    await a.registration.deregister();
    await notes.start("a", (_seen, reply) => void reply.end("a, elsewhere"));
    await until(async () => (await notes.get()) === "a, elsewhere");
    await until(() => a.sockets.size === 0);
  });

  it("loads a slow instance less than a quick one", async () => {
    await using notes = await world({ clock: new FakeClock() }); // time stands still: what is under way counts alone
    const waiting: ServerResponse[] = [];
    let arrived = Promise.withResolvers<void>();
    const slow = await notes.start("slow", (_seen, reply) => {
      waiting.push(reply);
      arrived.resolve();
    });
    const quick = await notes.start("quick");
    const all: Promise<string>[] = [];
    for (let at = 0; at < 60; at++) {
      arrived = Promise.withResolvers<void>();
      const asked = notes.get();
      all.push(asked);
      await Promise.race([asked, arrived.promise]);
    }
    assert.ok(slow.hits < quick.hits, `${slow.hits} at the slow one, ${quick.hits} at the quick one`);
    for (const reply of waiting) reply.end("slow");
    const texts = await Promise.all(all);
    assert.equal(texts.filter((text) => text === "quick" || text === "slow").length, 60);
  });

  it("picks among a thousand instances, and connects to those that it picks alone", async () => {
    await using notes = await world();
    const a = await notes.start("a");
    for (let at = 0; at < 999; at++)
      await notes.registry.register({ service: "notes", id: `n${at}`, host: "127.0.0.1", ports: { http: a.port } });
    const texts = await Promise.all(Array.from({ length: 50 }, () => notes.get()));
    assert.deepEqual([...new Set(texts)], ["a"]);
    assert.ok(a.sockets.size <= 50);
  });

  it("filters, and reaches a name with capitals, by an alias", async () => {
    await using notes = await world({
      services: { canary: { service: "notes", filter: { version: "2.*" } }, legacy: { service: "Legacy" } },
    });
    await notes.start("old", undefined, { version: "1.0" });
    await notes.start("new", undefined, { version: "2.1" });
    await notes.start("upper", undefined, { service: "Legacy" });
    for (let at = 0; at < 6; at++) assert.equal(await notes.get("http://canary/"), "new");
    assert.equal(await notes.get("http://legacy/"), "upper");
  });

  for (const url of ["http://127.0.0.1/", "http://notes:8080/", "http://[::1]/"])
    it(`refuses ${url}, which names no service`, async () => {
      await using notes = await world();
      assert.equal(await notes.get(url), "ERR_SERVICE_URL");
    });

  it("refuses options that make no sense, and names them", async () => {
    const registry = createMemoryRegistry();
    for (const [options, message] of [
      [{ maxTries: 0 }, /^maxTries /],
      [{ bodyTimeoutMs: -1 }, /^bodyTimeoutMs /],
      [{ services: { Notes: { service: "Notes" } } }, /^services\.Notes /],
    ] as const)
      await assert.rejects(createServiceDispatcher({ registry, ...options }), { message });
  });
});

describe("the limits of a service dispatcher", () => {
  it("refuses requests beyond maxPending, and takes the next when one has ended", async () => {
    await using notes = await world({ maxPending: 2 });
    const waiting: ServerResponse[] = [];
    await notes.start("a", (_seen, reply) => void waiting.push(reply));
    const under = [notes.get(), notes.get()];
    await until(() => waiting.length === 2);
    assert.equal(await notes.get(), "ERR_OVERLOADED");
    waiting[0]?.end("1");
    await Promise.race(under);
    const third = notes.get();
    await until(() => waiting.length === 3);
    for (const reply of waiting) reply.end("done");
    assert.equal(await third, "done");
    await Promise.all(under);
  });

  it("opens no more connections to an instance than it may", async () => {
    await using notes = await world({ maxConnections: 2 });
    const a = await notes.start("a");
    await Promise.all(Array.from({ length: 20 }, () => notes.get()));
    assert.ok(a.sockets.size <= 2, `${a.sockets.size}`);
    assert.equal(a.hits, 20);
  });

  it("follows no more services than it may: the one not used for longest makes room", async () => {
    await using notes = await world({ maxServices: 2 });
    const held = Promise.withResolvers<ServerResponse>();
    await notes.start("a", (_seen, reply) => held.resolve(reply));
    const under = notes.get();
    const reply = await held.promise;
    for (const name of ["one", "two", "three"]) assert.equal(await notes.get(`http://${name}/`), "ERR_NO_INSTANCE");
    await settled();
    assert.deepEqual(
      notes.registry.stats().services.map(({ service }) => service),
      ["notes", "three"],
    );
    reply.end("fine");
    assert.equal(await under, "fine");
  });

  it("refuses a service more where all are in use", async () => {
    await using notes = await world({ maxServices: 1 });
    const held = Promise.withResolvers<ServerResponse>();
    await notes.start("a", (_seen, reply) => held.resolve(reply));
    const under = notes.get();
    const reply = await held.promise;
    assert.equal(await notes.get("http://other/"), "ERR_OVERLOADED");
    reply.end("fine");
    assert.equal(await under, "fine");
  });

  it("gives up a reply whose head or body is beyond its limit", async () => {
    await using notes = await world({ maxReplyBytes: 100, maxHeadBytes: 2_000 });
    let answer = (reply: ServerResponse): void => void reply.end("x".repeat(200));
    await notes.start("a", (_seen, reply) => answer(reply));
    assert.equal(await notes.get(), "UND_ERR_RES_EXCEEDED_MAX_SIZE");
    answer = (reply) => void reply.writeHead(200, { "x-long": "x".repeat(4_000) }).end();
    assert.equal(await notes.get(), "UND_ERR_HEADERS_OVERFLOW");
  });
});

describe("a service dispatcher without an answer of its registry", () => {
  const silent: Pick<Registry, "watch"> = {
    // oxlint-disable-next-line require-yield -- it never has anything to tell
    async *watch(_service, { signal } = {}) {
      if (signal) await once(signal, "abort");
    },
  };

  it("waits for the first answer so long, once, and then says that there was none", async () => {
    const clock = new FakeClock();
    await using notes = await world({ registry: silent, clock });
    const first = notes.get();
    await until(() => clock.pending > 0);
    await clock.advance(3_000);
    assert.equal(await first, "ERR_NO_INSTANCE");
    await assert.rejects(request("http://notes/", { dispatcher: notes.dispatcher }), {
      message: "the registry has not told within 3000 ms who serves notes; look whether it can be reached",
    });
  });

  it("goes on with the last known instances when the registry is closed", async () => {
    await using notes = await world();
    await notes.start("a");
    assert.equal(await notes.get(), "a");
    const registration = notes.registry.stats().registrations[0];
    assert.ok(registration);
    const other = createMemoryRegistry({ store: createMemoryStore() });
    const dispatcher = await createServiceDispatcher({ registry: other });
    await other.register({ service: "notes", id: "b", host: "127.0.0.1", ports: { http: await freePort() } });
    await assert.rejects(request("http://notes/", { dispatcher }), { code: "ECONNREFUSED" });
    await other.close();
    await assert.rejects(request("http://notes/", { dispatcher }), (error: unknown) =>
      ["ECONNREFUSED", "ERR_NO_INSTANCE"].includes(codeOf(error)),
    );
    await assert.rejects(request("http://never-asked/", { dispatcher }), {
      code: "ERR_NO_INSTANCE",
      message: /closed/,
    });
    await dispatcher.close();
  });

  it("is told by a caller who leaves, also while it waits", async () => {
    await using notes = await world({ registry: silent });
    const leaving = AbortSignal.timeout(1);
    await assert.rejects(fetch("http://notes/", { dispatcher: notes.dispatcher, signal: leaving }), {
      name: "TimeoutError",
    });
  });
});

describe("the end of a service dispatcher", () => {
  it("takes no more requests, lets those under way end, and leaves no connection; twice is once", async () => {
    await using notes = await world();
    const held = Promise.withResolvers<ServerResponse>();
    const a = await notes.start("a", (_seen, reply) => held.resolve(reply));
    const under = notes.get();
    const reply = await held.promise;
    const closed = [notes.dispatcher.close(), notes.dispatcher.close()];
    assert.equal(await notes.get(), "ERR_RPC_CLIENT_CLOSED");
    reply.end("in time");
    assert.equal(await under, "in time");
    await Promise.all(closed);
    await until(() => a.sockets.size === 0);
    assert.deepEqual(notes.registry.stats().services, []);
  });

  it("breaks off what is left when its signal aborts", async () => {
    await using notes = await world();
    const arrived = Promise.withResolvers<void>();
    const a = await notes.start("a", () => arrived.resolve());
    const under = notes.get();
    await arrived.promise;
    const limit = new AbortController();
    const closed = notes.dispatcher.close({ signal: limit.signal });
    limit.abort();
    assert.equal(await under, "ERR_RPC_CLIENT_CLOSED");
    await closed;
    await until(() => a.sockets.size === 0);
  });

  it("breaks a request off whose caller has left, and lets the others go on", async () => {
    await using notes = await world();
    const arrived = Promise.withResolvers<IncomingMessage>();
    await notes.start("a", (seen, reply) => {
      if (seen.url === "/long") arrived.resolve(seen);
      else reply.end("other");
    });
    const leaving = new AbortController();
    const under = notes.get("http://notes/long", { signal: leaving.signal });
    const seen = await arrived.promise;
    leaving.abort();
    assert.match(await under, /^(20|AbortError.*)$/);
    await once(seen.socket, "close");
    assert.equal(await notes.get(), "other");
  });

  it("serves handlers of the time before undici 8, as the fetch of Node 24 has", async () => {
    await using notes = await world();
    await notes.start("a");
    const told: string[] = [];
    const done = Promise.withResolvers<void>();
    const older = {
      onConnect: () => void told.push("connect"),
      onHeaders: (status: number) => (told.push(String(status)), true),
      onData: (chunk: Buffer) => (told.push(chunk.toString()), true),
      onComplete: () => done.resolve(),
      onError: (error: Error) => done.reject(error),
    };
    const handler: object = older;
    notes.dispatcher.dispatch({ origin: "http://notes", path: "/", method: "GET" }, handler);
    await done.promise;
    assert.deepEqual(told, ["connect", "200", "a"]);
  });

  it("fails in time where an instance takes connections and says nothing", async () => {
    await using notes = await world();
    const mute = createServer(() => {});
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    const address = mute.address();
    assert.ok(typeof address === "object" && address !== null);
    await notes.registry.register({ service: "notes", id: "mute", host: "127.0.0.1", ports: { http: address.port } });
    const late = request("http://notes/", { dispatcher: notes.dispatcher, headersTimeout: 1 });
    await assert.rejects(late, { code: "UND_ERR_HEADERS_TIMEOUT" });
    mute.close();
  });
});
