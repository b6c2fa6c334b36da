import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, request as httpRequest } from "node:http";
import { connect } from "node:net";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { echo, httpInstance, openRoute, rawClient, startGateway } from "../testing/kit.ts";

interface Reply {
  readonly status: number;
  readonly connection: string | undefined;
  readonly text: string;
}

function get(port: number, agent: Agent, path = "/"): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ port, host: "127.0.0.1", path, agent }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, connection: response.headers.connection, text }),
      );
      response.on("error", reject);
    });
    request.on("error", reject).end();
  });
}

describe("a drain", () => {
  it("loses no request under load: each reply sends its client elsewhere, and the last one ends it", async () => {
    await using instance = await httpInstance((request, response) => void setTimeout(() => echo(request, response), 5));
    await using draining = await startGateway();
    await using other = await startGateway();
    await draining.add(instance);
    await other.add(instance);
    const agent = new Agent({ keepAlive: true });
    const served = { draining: 0, other: 0 };
    const stop = new AbortController();
    const client = async (): Promise<void> => {
      let port = draining.gateway.port;
      while (!stop.signal.aborted) {
        const reply = await get(port, agent);
        assert.equal(reply.status, 200);
        if (port === draining.gateway.port) served.draining++;
        else served.other++;
        if (reply.connection === "close") port = other.gateway.port;
      }
    };
    const clients = Array.from({ length: 30 }, client);
    await until(() => (served.draining > 300 ? true : undefined));
    draining.gateway.announceDrain();
    await until(() => (served.other > 300 ? true : undefined));
    const before = served.draining;
    await draining.gateway.drain();
    stop.abort();
    await Promise.all(clients);
    assert.equal(served.draining, before);
    agent.destroy();
  });

  it("waits for requests in flight, ends their connections and idle ones, and takes no new ones", async () => {
    const release = Promise.withResolvers<void>();
    const arrived = Promise.withResolvers<void>();
    await using instance = await httpInstance((request, response) => {
      if (request.url === "/quick") echo(request, response);
      else {
        arrived.resolve();
        void release.promise.then(() => response.end("done"));
      }
    });
    await using running = await startGateway();
    await running.add(instance);
    const agent = new Agent({ keepAlive: true });
    const idle = await rawClient(running.gateway.port);
    idle.send("GET /quick HTTP/1.1\r\nHost: a\r\n\r\n");
    await idle.matching(/200 OK/);
    const slow = get(running.gateway.port, agent, "/slow");
    await arrived.promise;
    let isDrained = false;
    const drained = running.gateway.drain().then(() => (isDrained = true));
    await idle.toEnd();
    const refused = connect(running.gateway.port, "127.0.0.1");
    const [error] = (await once(refused, "error")) as [NodeJS.ErrnoException];
    assert.equal(error.code, "ECONNREFUSED");
    assert.equal(isDrained, false);
    release.resolve();
    assert.deepEqual(await slow, { status: 200, connection: "close", text: "done" });
    await drained;
    agent.destroy();
  });

  it("ends the connection of a reply that had begun before it", async () => {
    const release = Promise.withResolvers<void>();
    await using instance = await httpInstance((_request, response) => {
      response.write("part");
      void release.promise.then(() => response.end("rest"));
    });
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.matching(/keep-alive.*part/is);
    const drained = running.gateway.drain();
    release.resolve();
    assert.match(await client.toEnd(), /rest\r\n0\r\n\r\n$/);
    assert.equal(client.wasReset, false);
    await drained;
  });

  it("does not wait for clients that have only connected, but lets one that was about to ask do so", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    await running.add(instance);
    const silent = await rawClient(running.gateway.port);
    const late = await rawClient(running.gateway.port);
    const drained = running.gateway.drain();
    late.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert.match(await late.toEnd(), /^HTTP\/1\.1 200 OK.*connection: close/is);
    assert.equal(await silent.toEnd(), "");
    await drained;
  });

  it("cuts off at its limit what is still under way, with reason gateway_stopped", async () => {
    const gone = Promise.withResolvers<void>();
    await using instance = await httpInstance((_request, response) => void response.on("close", () => gone.resolve()));
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await until(() => (instance.sockets.size === 1 ? true : undefined));
    const limit = new AbortController();
    const drained = running.gateway.drain({ signal: limit.signal });
    limit.abort();
    await drained;
    await gone.promise;
    assert.equal(await client.toEnd(), "");
    const { status, reason } = await running.lastLine();
    assert.deepEqual([status, reason], [503, "gateway_stopped"]);
  });

  it("is the end: a gateway that was drained does not listen again, and close is safe to call twice", async () => {
    await using running = await startGateway({ routes: [openRoute()] });
    await running.gateway.drain();
    await assert.rejects(running.gateway.listen(), { code: "ERR_GATEWAY_STATE" });
    await running.gateway.close();
    await running.gateway.close();
  });
});

describe("an instance that leaves", () => {
  it("finishes what it has, and gets nothing new", async () => {
    const release = Promise.withResolvers<void>();
    await using leaving = await httpInstance(
      (_request, response) => void release.promise.then(() => response.end("from the old one")),
    );
    await using staying = await httpInstance((_request, response) => void response.end("from the new one"));
    await using running = await startGateway();
    const registration = await running.add(leaving);
    const slow = fetch(running.url);
    await until(() => (leaving.sockets.size === 1 ? true : undefined));
    await running.add(staying);
    await registration.deregister();
    for (let i = 0; i < 20; i++) assert.equal(await (await fetch(running.url)).text(), "from the new one");
    release.resolve();
    assert.equal(await (await slow).text(), "from the old one");
    await until(() => (leaving.sockets.size === 0 ? true : undefined), {
      what: "the end of the old one's connections",
    });
  });

  it("has its idle connections closed also when no request comes", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    const registration = await running.add(instance);
    await (await fetch(running.url)).text();
    assert.equal(instance.sockets.size, 1);
    await registration.deregister();
    await until(() => (instance.sockets.size === 0 ? true : undefined));
  });
});
