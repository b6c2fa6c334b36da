import assert from "node:assert/strict";
import { request } from "node:http";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { echo, httpInstance, openRoute, rawClient, sayOnce, socketInstance, startGateway } from "../testing/kit.ts";

const stream = (more: Parameters<typeof openRoute>[0] = {}): ReturnType<typeof openRoute> =>
  openRoute({ timeoutMs: 0, ...more });

describe("a stream of events", () => {
  for (const type of ["text/event-stream", "text/event-stream; charset=utf-8"]) {
    it(`of the type ${type} reaches the client event by event, its head before the first`, async () => {
      let say: ((text: string) => void) | undefined;
      await using instance = await httpInstance((_request, response) => {
        response.writeHead(200, { "content-type": type, "cache-control": "no-cache" }).flushHeaders();
        say = (text) => void response.write(text);
      });
      await using running = await startGateway({ routes: [stream()] });
      await running.add(instance);
      const client = await rawClient(running.gateway.port);
      client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
      await client.matching(/^HTTP\/1\.1 200 [^]*\r\n\r\n$/);
      for (const event of ["data: one\n\n", ": ping\n\n", "id: 2\ndata: two\n\n"]) {
        say?.(event);
        await client.matching(new RegExp(`\r\n${event.length.toString(16)}\r\n${event}\r\n$`));
      }
      client.socket.destroy();
      await until(() => instance.sockets.size === 0);
      assert.equal((await running.lastLine()).reason, "client_gone");
    });
  }

  it("may pause for as long as its route says, though clients' connections may not stand still that long", async () => {
    await using instance = await httpInstance((_request, response) => {
      response.write("one");
      setTimeout(() => response.end("two"), 400);
    });
    await using running = await startGateway({
      routes: [stream({ match: { path: "/slow" }, bodyGapMs: 60_000 }), openRoute({ name: "other" })],
      settings: { idleTimeoutMs: 100 },
    });
    await running.add(instance);
    const [slow, other] = await Promise.allSettled(
      ["/slow", "/other"].map(async (path) => (await fetch(running.url + path)).text()),
    );
    assert.equal(other?.status, "rejected");
    assert.equal(slow?.status === "fulfilled" && slow.value, "onetwo");
  });

  it("is broken off when it pauses for longer than its route says", async () => {
    await using instance = await httpInstance((_request, response) => response.write("one"));
    await using running = await startGateway({ routes: [stream({ bodyGapMs: 50 })] });
    await running.add(instance);
    await assert.rejects(fetch(running.url).then((reply) => reply.text()));
    assert.equal((await running.lastLine()).reason, "reply_stalled");
    await until(() => instance.sockets.size === 0);
  });
});

describe("trailers of a reply", () => {
  const reply =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: digest\r\n\r\n2\r\nhi\r\n0\r\n" +
    "Digest: abc\r\nX-Two: 1\r\nX-Two: 2\r\nSet-Cookie: a=b\r\nX-Request-Id: mine\r\nTransfer-Encoding: gzip\r\nUpgrade: x\r\n\r\n";
  const ask = async (head: string): Promise<{ readonly got: string; readonly sent: string }> => {
    let sent = "";
    await using instance = await socketInstance((socket) => {
      socket.once("data", (chunk) => {
        sent = chunk.toString("latin1");
        socket.write(reply);
      });
    });
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send(`${head}\r\nHost: a\r\nConnection: close\r\n\r\n`);
    return { got: await client.toEnd(), sent };
  };

  it("reach a client that takes them, but for what must come ahead of a body", async () => {
    const { got, sent } = await ask("GET / HTTP/1.1\r\nTE: gzip;q=0.5, Trailers");
    assert.match(sent, /\r\nte: trailers\r\n/);
    assert.match(got, /\r\n\r\n2\r\nhi\r\n0\r\ndigest: abc\r\nx-two: 1\r\nx-two: 2\r\n\r\n$/i);
    assert.doesNotMatch(got, /set-cookie|mine|gzip|upgrade/i);
  });

  for (const head of ["GET / HTTP/1.1", "GET / HTTP/1.1\r\nTE: gzip", "GET / HTTP/1.0\r\nTE: trailers"]) {
    it(`are left out for one that does not: ${JSON.stringify(head)}`, async () => {
      const { got, sent } = await ask(head);
      assert.doesNotMatch(sent, /\r\nte:/i);
      assert.match(got, /hi/);
      assert.doesNotMatch(got, /digest/i);
    });
  }

  it("have no place behind a body of known length", async () => {
    await using instance = await socketInstance(sayOnce("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n");
    assert.match(await client.toEnd(), /\r\n\r\nhi$/);
  });
});

describe("trailers of a request", () => {
  it("are never taken for headers of the request, whatever they are called", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\nConnection: close\r\n\r\n" +
        "2\r\nhi\r\n0\r\nX-T: 1\r\nAuthorization: Bearer x\r\nPlinth-Subject: me\r\n\r\n",
    );
    const got = await client.toEnd();
    assert.match(got, /^HTTP\/1\.1 200 [^]*"body":"hi"/);
    assert.doesNotMatch(got, /x-t|authorization|plinth-subject/i);
    assert.deepEqual(running.reports, []);
  });
});

describe("a reply that comes before the end of the upload", () => {
  it("reaches the client whole, and the instance gets no more", async () => {
    await using instance = await socketInstance((socket) => {
      socket.once("data", () => socket.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"));
    });
    await using running = await startGateway();
    await running.add(instance);
    const reply = Promise.withResolvers<number | undefined>();
    const upload = request(running.url, { method: "POST" }, (got) => {
      got.resume().on("end", () => reply.resolve(got.statusCode));
    });
    upload.on("error", reply.reject);
    upload.write("part");
    assert.equal(await reply.promise, 413);
    await until(() => instance.sockets.size === 0);
    upload.destroy();
  });
});
