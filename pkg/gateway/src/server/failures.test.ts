import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type IncomingMessage, request as httpRequest } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import {
  echo,
  httpInstance,
  openRoute,
  rawClient,
  sayOnce,
  socketInstance,
  startGateway,
  type TestGateway,
} from "../testing/kit.ts";

const timeouts = { connectTimeoutMs: 300, headersTimeoutMs: 300, bodyGapMs: 300 };

interface Told {
  readonly status: number;
  readonly reason: string | undefined;
  readonly retryAfter: string | null;
}

/** Asks, checks that a reply of the gateway's own has the one form, and that log and metric have the same reason. */
async function ask(running: TestGateway, init: RequestInit = {}): Promise<Told> {
  const count = running.log.withMessage("request").length + 1;
  const reply = await fetch(`${running.url}/x`, init);
  const text = await reply.text();
  const problem =
    reply.headers.get("content-type") === "application/problem+json"
      ? (JSON.parse(text) as Record<string, unknown>)
      : undefined;
  const line = (await running.lines(count)).at(-1) ?? {};
  if (problem) {
    const { type, title, status, code, reason, traceId, detail } = problem;
    assert.deepEqual([type, status], ["about:blank", reply.status]);
    assert.equal(code, `ERR_GATEWAY_${String(reason).toUpperCase()}`);
    assert.ok(typeof title === "string" && typeof detail === "string");
    assert.doesNotMatch(text, /127\.0\.0\.1|ECONN|undici|node:/, "nothing internal leaves");
    assert.equal(traceId, line.trace_id);
    assert.equal(reason, line.reason);
    assert.match(
      await running.metrics(),
      new RegExp(`gateway_requests_total\\{[^}]*reason="${String(reason)}"\\} [1-9]`),
    );
  }
  assert.equal(line.status, reply.status);
  return {
    status: reply.status,
    reason: problem?.reason as string | undefined,
    retryAfter: reply.headers.get("retry-after"),
  };
}

/** A port that refuses connections. */
async function deadPort(): Promise<{ readonly port: number }> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return { port };
}

/** A process that listens but is stopped, its backlog full: the kernel lets further connections wait. */
async function fullInstance(): Promise<AsyncDisposable & { readonly port: number }> {
  const program =
    'require("net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, function () { console.log(this.address().port) })';
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  const [printed] = (await once(child.stdout, "data")) as [Buffer];
  const port = Number(printed.toString());
  child.kill("SIGSTOP");
  const waiting = Array.from({ length: 6 }, () => connect(port, "127.0.0.1").on("error", () => undefined));
  return {
    port,
    [Symbol.asyncDispose]: async () => {
      for (const socket of waiting) socket.destroy();
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}

describe("a path that no route has", () => {
  it("is 404 route_not_found, in one series of metrics whatever the path", async () => {
    await using running = await startGateway({ routes: [openRoute({ match: { path: "/known" } })] });
    assert.deepEqual(await ask(running), { status: 404, reason: "route_not_found", retryAfter: null });
    for (let i = 0; i < 100; i++)
      await (await fetch(`${running.url}/random-${i}`, { method: i % 2 === 0 ? "GET" : "PROPFIND" })).text();
    await running.lines(101);
    const series = (await running.metrics()).split("\n").filter((line) => line.startsWith("gateway_requests_total"));
    assert.equal(series.length, 2, series.join("\n"));
  });
});

describe("a service that is not there", () => {
  it("has no instance: 503 no_instance with Retry-After, and comes back by itself", async () => {
    await using running = await startGateway();
    assert.deepEqual(await ask(running), { status: 503, reason: "no_instance", retryAfter: "1" });
    await using instance = await httpInstance(echo);
    const registration = await running.add(instance);
    assert.equal((await ask(running)).status, 200);
    await registration.deregister();
    assert.equal((await ask(running)).reason, "no_instance");
  });

  it("has an instance without an HTTP port: 503 no_instance", async () => {
    await using running = await startGateway();
    await running.registry.register({ service: "s", id: "g", host: "127.0.0.1", ports: { grpc: 1 } });
    assert.equal((await ask(running)).reason, "no_instance");
  });

  it("refuses connections: 502 upstream_unreachable", async () => {
    await using running = await startGateway();
    await running.add(await deadPort());
    assert.deepEqual(await ask(running), { status: 502, reason: "upstream_unreachable", retryAfter: null });
    assert.equal((await running.lastLine()).attempts, undefined);
  });

  it("does not take connections in time: 504 upstream_connect_timeout", async () => {
    await using full = await fullInstance();
    await using running = await startGateway({ settings: { upstream: timeouts } });
    await running.add(full);
    assert.deepEqual(await ask(running), { status: 504, reason: "upstream_connect_timeout", retryAfter: null });
  });

  it("has one dead instance of two: every request succeeds, and the dead one is left out", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    await running.add(await deadPort());
    await running.add(instance);
    for (let i = 0; i < 60; i++) assert.equal((await ask(running, { method: "POST", body: "once" })).status, 200);
    const metrics = await running.metrics();
    // Its first failure makes it the worse of two, its third ejects it: which comes sooner, the latency of the other decides.
    const [, failed] =
      /gateway_upstream_attempts_total\{service="s",outcome="unreachable"\} (\d+)\n/.exec(metrics) ?? [];
    assert.ok(Number(failed) >= 1 && Number(failed) <= 3, `${failed} of 60`);
    assert.match(metrics, new RegExp(`gateway_upstream_retries_total\\{service="s"\\} ${failed}\\n`));
  });

  it("has two dead instances of three: every request succeeds, since none is tried twice", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    for (let dead = 0; dead < 2; dead++) await running.add(await deadPort());
    await running.add(instance);
    for (let i = 0; i < 60; i++) assert.equal((await ask(running, { method: "POST", body: "once" })).status, 200);
  });

  it("has dead instances alone: three are tried, and none twice", async () => {
    await using running = await startGateway();
    for (let dead = 0; dead < 5; dead++) await running.add(await deadPort());
    assert.equal((await ask(running)).reason, "upstream_unreachable");
    assert.equal((await running.lastLine()).attempts, 3);
  });

  it("cannot be verified: 502 upstream_untrusted, and it is sent nothing", async () => {
    await using instance = await socketInstance((socket) => void socket.write("no TLS at all\r\n"));
    await using running = await startGateway({ document: { routes: [openRoute()], services: { s: { tls: {} } } } });
    await running.add(instance);
    assert.deepEqual(await ask(running), { status: 502, reason: "upstream_untrusted", retryAfter: null });
    assert.equal(instance.accepted, 1);
  });

  it("has all its connections in use: 503 instances_busy with Retry-After", async () => {
    const held: (() => void)[] = [];
    await using instance = await httpInstance((_request, response) => void held.push(() => response.end("done")));
    await using running = await startGateway({ settings: { upstream: { maxConnections: 2 } } });
    await running.add(instance);
    const waiting = [fetch(running.url), fetch(running.url)];
    await until(() => (held.length === 2 ? true : undefined));
    assert.deepEqual(await ask(running), { status: 503, reason: "instances_busy", retryAfter: "1" });
    for (const release of held) release();
    for (const reply of await Promise.all(waiting)) assert.equal(await reply.text(), "done");
  });
});

describe("a service that fails before its reply", () => {
  it("sends no head in time: 504 upstream_timeout, and its connection is closed", async () => {
    await using instance = await socketInstance((socket) => void socket.resume());
    await using running = await startGateway({ settings: { upstream: timeouts } });
    await running.add(instance);
    assert.equal((await ask(running)).reason, "upstream_timeout");
    await until(() => (instance.sockets.size === 0 ? true : undefined));
    assert.equal(instance.accepted, 1, "nothing is tried again that may have arrived");
  });

  it("takes longer than the route allows: 504 deadline_exceeded", async () => {
    await using instance = await socketInstance((socket) => void socket.resume());
    await using running = await startGateway({ routes: [openRoute({ timeoutMs: 120 })] });
    await running.add(instance);
    assert.equal((await ask(running)).reason, "deadline_exceeded");
    await until(() => (instance.sockets.size === 0 ? true : undefined));
  });

  for (const [how, script] of [
    ["resets", (socket: Socket) => void socket.once("data", () => socket.resetAndDestroy())],
    ["closes", (socket: Socket) => void socket.once("data", () => socket.end())],
    ["closes in the middle of the head", sayOnce("HTTP/1.1 200 OK\r\nContent-", "end")],
  ] as const) {
    it(`${how} a new connection: 502 upstream_reset, with no second try`, async () => {
      await using instance = await socketInstance(script);
      await using other = await socketInstance(script);
      await using running = await startGateway();
      await running.add(instance);
      await running.add(other);
      assert.equal((await ask(running)).reason, "upstream_reset");
      assert.equal(instance.accepted + other.accepted, 1);
    });
  }

  for (const [what, reply] of [
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"],
    ["a length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["status 099", "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"],
    ["status 999", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"],
    [
      "an upgrade that nobody asked for",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
    ["an unasked 100", "HTTP/1.1 100 Continue\r\n\r\n"],
    ["a head of 64 KiB", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(65_536)}\r\n\r\n`],
    ["no HTTP", "SSH-2.0-OpenSSH_9.2\r\n"],
    ["a null in a header", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"],
  ] as const) {
    it(`replies with ${what}: 502 upstream_invalid`, async () => {
      await using instance = await socketInstance(sayOnce(reply));
      await using running = await startGateway({ settings: { upstream: timeouts } });
      await running.add(instance);
      assert.equal((await ask(running)).reason, "upstream_invalid");
      await until(() => (instance.sockets.size === 0 ? true : undefined));
    });
  }

  it("closes an idle connection just as a request goes out on it: a GET is sent again, a POST is not", async () => {
    for (const method of ["GET", "POST"]) {
      await using instance = await socketInstance((socket) => {
        let requests = 0;
        socket.on("data", () => {
          if (++requests === 1) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
          else socket.destroy();
        });
      });
      await using running = await startGateway();
      await running.add(instance);
      assert.equal((await ask(running)).status, 200);
      const told = await ask(running, { method });
      assert.equal(told.status, method === "GET" ? 200 : 502, method);
      assert.equal(instance.accepted, method === "GET" ? 2 : 1);
    }
  });

  it("has ended all the idle connections: a GET is sent again on a new one, also where there may be no more of them", async () => {
    await using instance = await socketInstance((socket) => {
      let requests = 0;
      socket.on("data", () => {
        if (++requests === 1) setTimeout(() => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), 20);
        else socket.destroy();
      });
    });
    await using running = await startGateway({ settings: { upstream: { maxConnections: 3 } } });
    await running.add(instance);
    const all = await Promise.all([ask(running), ask(running), ask(running)]);
    assert.deepEqual([all.map(({ status }) => status), instance.accepted], [[200, 200, 200], 3]);
    assert.equal((await ask(running)).status, 200);
    assert.equal(instance.accepted, 4);
  });

  it("is asked on a new connection when the idle one has ended", async () => {
    await using instance = await socketInstance((socket) => {
      socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    });
    await using running = await startGateway();
    await running.add(instance);
    for (let i = 0; i < 30; i++) assert.equal((await ask(running, { method: "POST", body: "x" })).status, 200);
  });
});

describe("a service that fails within its reply", () => {
  /** Reads a reply until it breaks; says how much came. */
  async function broken(
    running: TestGateway,
  ): Promise<{ readonly bytes: number; readonly line: Record<string, unknown> }> {
    const request = httpRequest(running.url, { agent: false }).end();
    const [response] = (await once(request, "response")) as [IncomingMessage];
    assert.equal(response.statusCode, 200);
    let bytes = 0;
    await assert.rejects(
      async () => {
        for await (const chunk of response as AsyncIterable<Buffer>) bytes += chunk.length;
      },
      { code: "ECONNRESET" },
    );
    assert.equal(response.complete, false);
    return { bytes, line: await running.lastLine() };
  }

  for (const [how, reply, after] of [
    ["closes before the end of its length", "Content-Length: 100\r\n\r\npart", "end"],
    ["resets before the end of its length", "Content-Length: 100\r\n\r\npart", "reset"],
    ["closes between chunks", "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n", "end"],
    ["sends a broken chunk", "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n", "open"],
    ["closes within a chunk", "Transfer-Encoding: chunked\r\n\r\n9\r\npart", "end"],
  ] as const) {
    it(`${how}: the client's connection is reset, with reason reply_cut_off`, async () => {
      await using instance = await socketInstance(sayOnce(`HTTP/1.1 200 OK\r\n${reply}`, after));
      await using running = await startGateway();
      await running.add(instance);
      const { line } = await broken(running);
      assert.equal(line.reason, "reply_cut_off");
    });
  }

  it("stops sending: the client's connection is reset, with reason reply_stalled", async () => {
    await using instance = await socketInstance(sayOnce("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"));
    await using running = await startGateway({ settings: { upstream: timeouts } });
    await running.add(instance);
    const { line } = await broken(running);
    assert.equal(line.reason, "reply_stalled");
  });

  it("goes on past the route's time: the client's connection is reset, with reason reply_stalled", async () => {
    await using instance = await httpInstance((_request, response) => {
      const timer = setInterval(() => response.write("more"), 10);
      response.on("close", () => clearInterval(timer));
    });
    await using running = await startGateway({ routes: [openRoute({ timeoutMs: 150 })] });
    await running.add(instance);
    const { bytes, line } = await broken(running);
    assert.ok(bytes > 0);
    assert.equal(line.reason, "reply_stalled");
  });

  it("goes on as long as it likes on a route without a limit on its time", async () => {
    await using instance = await httpInstance((_request, response) => {
      let sent = 0;
      const timer = setInterval(() => {
        response.write("more");
        if (++sent === 20) response.end();
      }, 10);
      response.on("close", () => clearInterval(timer));
    });
    await using running = await startGateway({ routes: [openRoute({ timeoutMs: 0 })] });
    await running.add(instance);
    assert.equal(await (await fetch(running.url)).text(), "more".repeat(20));
  });

  it("sends more than its length: the client gets what was announced, and nobody the rest", async () => {
    await using instance = await socketInstance(
      sayOnce("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
    );
    await using running = await startGateway();
    await running.add(instance);
    assert.equal(await (await fetch(running.url)).text(), "ok");
    assert.equal(await (await fetch(running.url)).text(), "ok");
    assert.equal(instance.accepted, 2, "a connection with surplus bytes is not used again");
  });
});

describe("a client that leaves", () => {
  it("while its request waits for a reply: the service is told at once, and 499 client_gone is logged", async () => {
    const gone = Promise.withResolvers<void>();
    await using instance = await httpInstance((_request, response) => void response.on("close", () => gone.resolve()));
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await until(() => (instance.sockets.size === 1 ? true : undefined));
    client.socket.destroy();
    await gone.promise;
    const { status, reason } = await running.lastLine();
    assert.deepEqual([status, reason], [499, "client_gone"]);
    assert.match(await running.metrics(), /gateway_upstream_attempts_total\{service="s",outcome="aborted"\} 1/);
  });

  it("within its body", async () => {
    const gone = Promise.withResolvers<void>();
    await using instance = await httpInstance((request) => void request.resume().on("close", () => gone.resolve()));
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart");
    await until(() => (instance.sockets.size === 1 ? true : undefined));
    client.socket.destroy();
    await gone.promise;
    assert.equal((await running.lastLine()).reason, "client_gone");
  });

  it("within the reply", async () => {
    const gone = Promise.withResolvers<void>();
    await using instance = await httpInstance((_request, response) => {
      response.write("part");
      response.on("close", () => gone.resolve());
    });
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.matching(/part/);
    client.socket.destroy();
    await gone.promise;
    assert.equal((await running.lastLine()).reason, "client_gone");
  });

  it("before the connection to the service stands", async () => {
    const asked = Promise.withResolvers<void>();
    const aborted = Promise.withResolvers<void>();
    await using running = await startGateway({
      createUpstream: () => ({
        connections: 0,
        send() {
          asked.resolve();
          return { abort: () => aborted.resolve(), resume: () => undefined };
        },
        close: async () => undefined,
        destroy: () => undefined,
      }),
    });
    await running.add({ port: 9 });
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await asked.promise;
    client.socket.destroy();
    await aborted.promise;
    assert.equal((await running.lastLine()).reason, "client_gone");
  });

  it("again and again leaves nothing behind", async () => {
    await using instance = await httpInstance((_request, response) => void response.write("part"));
    await using running = await startGateway();
    await running.add(instance);
    for (let round = 0; round < 20; round++) {
      const clients = await Promise.all(Array.from({ length: 10 }, () => rawClient(running.gateway.port)));
      for (const client of clients) client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      await Promise.all(clients.map((client) => client.matching(/part/)));
      for (const client of clients) client.socket.resetAndDestroy();
    }
    await running.lines(200);
    await until(() => (instance.sockets.size === 0 ? true : undefined));
    const metrics = await running.metrics();
    assert.match(metrics, /gateway_requests_in_flight 0\n/);
    assert.match(metrics, /gateway_upstream_connections\{service="s"\} 0\n/);
    assert.match(metrics, /gateway_upstream_requests_in_flight\{service="s"\} 0\n/);
    assert.equal(running.reports.length, 0);
  });
});

describe("a fault of the gateway itself", () => {
  it("is a 500 without its text for the client, and on the error bus with its trace", async () => {
    await using running = await startGateway({
      createUpstream: () => ({
        connections: 0,
        send() {
          throw new Error("secret detail");
        },
        close: async () => undefined,
        destroy: () => undefined,
      }),
    });
    await running.add({ port: 9 });
    const reply = await fetch(running.url);
    const text = await reply.text();
    assert.equal(reply.status, 500);
    assert.match(text, /"reason":"gateway_error"/);
    assert.doesNotMatch(text, /secret/);
    await running.errors.flush();
    const [report] = running.reports;
    assert.equal(report?.error.message, "secret detail");
    assert.equal(report?.traceId, (JSON.parse(text) as { traceId: string }).traceId);
  });
});
