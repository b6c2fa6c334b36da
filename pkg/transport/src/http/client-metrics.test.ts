import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { createServer as createSocketServer, type Server } from "node:net";
import { describe, it } from "node:test";
import { createMetrics, createTracing, type Metrics, runInContext } from "@plinth/kernel";
import { instrumentFetch } from "./client-metrics.ts";

async function listening(server: Server): Promise<{ readonly url: string } & AsyncDisposable> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}/`,
    async [Symbol.asyncDispose]() {
      server.close();
      if ("closeAllConnections" in server && typeof server.closeAllConnections === "function")
        server.closeAllConnections();
    },
  };
}

const serving = (handle: RequestListener) => listening(createServer(handle));

async function linesOf(metrics: Metrics, name: string): Promise<string[]> {
  const { body } = await metrics.expose();
  return body.split("\n").filter((line) => line.startsWith(name));
}

/** Requests counted, by labels. */
async function counts(metrics: Metrics): Promise<string[]> {
  return linesOf(metrics, "http_client_request_duration_seconds_count");
}

const counted = (method: string, status: string, count = 1, peer = "billing"): string =>
  `http_client_request_duration_seconds_count{peer="${peer}",method="${method}",status="${status}"} ${count}`;

describe("instrumentFetch", () => {
  it("counts requests by peer, method and status, and gives the reply as it is", async () => {
    const metrics = createMetrics();
    const ask = instrumentFetch({ metrics, peer: "billing" });
    await using server = await serving((request, response) => {
      response.statusCode = request.url === "/odd" ? 799 : request.method === "POST" ? 201 : 404;
      request.pipe(response);
    });
    const reply = await ask(server.url, { method: "post", body: "hello" });
    assert.deepEqual([reply.status, await reply.text()], [201, "hello"]);
    await (await ask(new Request(server.url))).text();
    await (await ask(new Request(server.url, { method: "DELETE" }))).text();
    await (await ask(`${server.url}odd`, { method: "PROPFIND" })).text();
    assert.deepEqual(
      (await counts(metrics)).toSorted(),
      [counted("POST", "201"), counted("GET", "404"), counted("DELETE", "404"), counted("_OTHER", "_OTHER")].toSorted(),
    );
  });

  it("times until the head, and counts what waits for one", async () => {
    const metrics = createMetrics();
    const ask = instrumentFetch({ metrics, peer: "billing" });
    const reached = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    await using server = await serving((_request, response) => {
      reached.resolve();
      void release.promise.then(() => {
        response.flushHeaders(); // and no end
      });
    });
    assert.deepEqual(await linesOf(metrics, "http_client_active_requests"), [
      'http_client_active_requests{peer="billing"} 0',
    ]);
    const asked = ask(server.url);
    await reached.promise;
    assert.deepEqual(await linesOf(metrics, "http_client_active_requests"), [
      'http_client_active_requests{peer="billing"} 1',
    ]);
    release.resolve();
    const reply = await asked;
    assert.deepEqual(await counts(metrics), [counted("GET", "200")]);
    assert.deepEqual(await linesOf(metrics, "http_client_active_requests"), [
      'http_client_active_requests{peer="billing"} 0',
    ]);
    await reply.body?.cancel();
  });

  it("serves several peers of one app, and apps side by side", async () => {
    const [first, second] = [createMetrics(), createMetrics()];
    await using server = await serving((_request, response) => void response.end());
    for (const [metrics, peer] of [
      [first, "a"],
      [first, "b"],
      [second, "a"],
    ] as const)
      await (await instrumentFetch({ metrics, peer })(server.url)).text();
    assert.deepEqual(await counts(first), [counted("GET", "200", 1, "a"), counted("GET", "200", 1, "b")]);
    assert.deepEqual(await counts(second), [counted("GET", "200", 1, "a")]);
  });

  it("tells the trace of the request that it is a part of", async () => {
    const metrics = createMetrics();
    await using server = await serving((_request, response) => void response.end());
    const parent = { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true };
    const span = createTracing().startSpan("x", { parent });
    await runInContext({ span }, () => instrumentFetch({ metrics, peer: "billing" })(server.url));
    const { body } = await metrics.expose({ accept: "application/openmetrics-text" });
    assert.match(body, new RegExp(`_bucket\\{.*# \\{.*trace_id="${parent.traceId}"`));
  });
});

describe("a request that gets no reply", () => {
  const never: RequestListener = () => {};

  it("for nobody listens is unreachable", async () => {
    const server = await serving(never);
    await server[Symbol.asyncDispose]();
    await failsAs("unreachable", server.url);
  });

  it("for its name is not known is unreachable", async () => {
    await failsAs("unreachable", "http://nowhere.invalid/");
  });

  it("for the other side broke off is reset", async () => {
    await using server = await listening(createSocketServer((socket) => socket.once("data", () => socket.destroy())));
    await failsAs("reset", server.url);
  });

  it("in time is a timeout", async () => {
    await using server = await serving(never);
    await failsAs("timeout", server.url, { signal: AbortSignal.timeout(20) });
  });

  it("in time is a timeout also where several signals are one", async () => {
    await using server = await serving(never);
    const signal = AbortSignal.any([new AbortController().signal, AbortSignal.timeout(20)]);
    await failsAs("timeout", server.url, { signal });
  });

  it("for the caller has left is cancelled, whatever its reason", async () => {
    await using server = await serving(never);
    for (const reason of [undefined, new Error("told"), "text"]) {
      const controller = new AbortController();
      setImmediate(() => controller.abort(reason));
      await failsAs("cancelled", server.url, { signal: controller.signal });
    }
  });

  it("for it cannot be sent has failed", async () => {
    await failsAs("failed", "no url");
    await using server = await serving((_request, response) => void response.writeHead(302, { location: "/" }).end());
    await failsAs("failed", server.url, { redirect: "error" });
  });

  /** It throws what `fetch` throws, and is counted as that. */
  async function failsAs(status: string, url: string, init: RequestInit = {}): Promise<void> {
    const metrics = createMetrics();
    const thrown: unknown[] = [];
    const ask = instrumentFetch({
      metrics,
      peer: "billing",
      fetch: (...args) =>
        fetch(...args).catch((error: unknown) => {
          thrown.push(error);
          throw error;
        }),
    });
    const rethrown = await ask(url, init).then(
      () => assert.fail("there was a reply"),
      (error: unknown) => error,
    );
    assert.equal(rethrown, thrown[0]);
    assert.deepEqual(await counts(metrics), [counted("GET", status)]);
    assert.deepEqual(await linesOf(metrics, "http_client_active_requests"), [
      'http_client_active_requests{peer="billing"} 0',
    ]);
  }
});
