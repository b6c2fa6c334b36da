import assert from "node:assert/strict";
import { once } from "node:events";
import {
  type ClientHttp2Stream,
  connect,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { FakeClock, until } from "@plinth/kernel/testing";
import { httpInstance, openRoute, rawClient, startGateway } from "../testing/kit.ts";

/** A gateway between a caller and an instance, both of HTTP/2, at a time that stands still. */
async function started(route: Parameters<typeof openRoute>[0], onStream: (stream: ServerHttp2Stream) => void) {
  const clock = new FakeClock();
  const sockets = new Set<Socket>();
  const server = createServer();
  server.on("connection", (socket: Socket) => sockets.add(socket.on("error", () => undefined)));
  server.on("stream", (stream: ServerHttp2Stream) => onStream(stream.on("error", () => undefined)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const running = await startGateway({
    clock,
    settings: { http2: { cleartext: true } },
    document: { routes: [openRoute({ timeoutMs: 0, ...route })], services: { s: { protocol: "http2" } } },
  });
  await running.add({ port: address.port });
  const session = connect(running.url);
  session.on("error", () => undefined);
  return {
    ...running,
    ask: (headers: IncomingHttpHeaders): ClientHttp2Stream =>
      session.request({ ":path": "/", ":method": "POST", ...headers }).on("error", () => undefined),
    /** A second at a time, so that what is due is done. */
    pass: async (seconds: number): Promise<void> => {
      for (let second = 0; second < seconds; second++) await clock.advance(1_000);
    },
    [Symbol.asyncDispose]: async () => {
      session.destroy();
      await running[Symbol.asyncDispose]();
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

const grpc = { "content-type": "application/grpc", te: "trailers" };

/** Says each message again. */
function echoing(stream: ServerHttp2Stream): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" })).pipe(stream);
}

/** What comes of a reply. */
function listen(stream: ClientHttp2Stream): { text: string; status: string | undefined } {
  const heard: { text: string; status: string | undefined } = { text: "", status: undefined };
  stream.on("data", (chunk: Buffer) => (heard.text += chunk.toString("latin1")));
  const takeStatus = (fields: IncomingHttpHeaders): void => {
    if (fields["grpc-status"] !== undefined) heard.status = String(fields["grpc-status"]);
  };
  stream.on("response", takeStatus).on("trailers", takeStatus);
  return heard;
}

describe("a stream of long life", { timeout: 30_000 }, () => {
  it("of gRPC goes on for as long as messages pass, beyond the time of a whole request, and ends by silence", async () => {
    await using running = await started({}, echoing);
    const call = running.ask(grpc);
    const heard = listen(call);
    for (let minute = 0, sent = ""; minute < 30; minute++) {
      sent += "m";
      call.write("m");
      await until(() => heard.text === sent, { what: `message ${minute}` });
      await running.pass(20);
    }
    assert.equal(heard.status, undefined, "it goes on");
    await running.pass(45);
    await until(() => heard.status !== undefined, { what: "the end of a silent call" });
    assert.notEqual(heard.status, "0");
    assert.equal((await running.lastLine())["reason"], "reply_stalled");
    assert.deepEqual(running.reports, []);
  });

  it("of gRPC goes on while only the service says anything, its caller's half open", async () => {
    let say = (): void => undefined;
    await using running = await started({}, (stream) => {
      stream.respond({ ":status": 200, "content-type": "application/grpc" });
      say = () => void stream.write("s");
      stream.resume();
    });
    const call = running.ask(grpc);
    const heard = listen(call);
    call.write("m");
    await once(call, "response");
    for (let turn = 1; turn <= 10; turn++) {
      say();
      await until(() => heard.text.length === turn);
      await running.pass(25);
    }
    assert.equal(heard.status, undefined);
    call.close();
  });

  it("of gRPC goes on before its reply while its caller says something, and ends by the pause that its route allows", async () => {
    let taken = 0;
    await using running = await started({ bodyGapMs: 60_000 }, (stream) => {
      stream.on("data", (chunk: Buffer) => (taken += chunk.length));
    });
    const call = running.ask(grpc);
    const heard = listen(call);
    for (let turn = 1; turn <= 5; turn++) {
      call.write("m");
      await until(() => taken === turn);
      await running.pass(50);
    }
    assert.equal(heard.status, undefined, "it goes on");
    await running.pass(15);
    await until(() => heard.status !== undefined, { what: "the end of a silent call" });
    assert.equal((await running.lastLine())["reason"], "body_too_slow");
  });

  it("of a body over HTTP/2 goes on where its route sets no time", async () => {
    let taken = 0;
    await using running = await started({}, (stream) => {
      stream.on("data", (chunk: Buffer) => (taken += chunk.length));
      stream.on("end", () => {
        stream.respond({ ":status": 200 });
        stream.end("done");
      });
    });
    const upload = running.ask({});
    const heard = listen(upload);
    for (let turn = 1; turn <= 15; turn++) {
      upload.write(Buffer.alloc(10_000));
      await until(() => taken === turn * 10_000);
      await running.pass(15);
    }
    upload.end();
    await until(() => heard.text === "done");
  });

  it("of a body over HTTP/2 has the time of a whole request where its route sets one", async () => {
    let taken = 0;
    await using running = await started({ timeoutMs: 3_600_000 }, (stream) => {
      stream.on("data", (chunk: Buffer) => (taken += chunk.length));
    });
    const upload = running.ask({});
    for (let turn = 1; turn <= 8; turn++) {
      upload.write(Buffer.alloc(10_000));
      await until(() => taken === turn * 10_000);
      await running.pass(15);
    }
    await running.pass(2);
    assert.equal((await running.lastLine())["reason"], "request_timeout");
  });

  it("of events goes on for as long as they come, and ends by silence", async () => {
    let say = (): void => undefined;
    await using instance = await httpInstance((_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      say = () => void response.write("data: x\n\n");
    });
    const clock = new FakeClock();
    await using running = await startGateway({ clock, routes: [openRoute({ timeoutMs: 0 })] });
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.matching(/\r\n\r\n$/);
    for (let turn = 1; turn <= 20; turn++) {
      say();
      await until(() => client.text.split("data: x").length === turn + 1);
      await clock.advance(25_000);
    }
    assert.equal(client.ended, false);
    await clock.advance(10_000);
    await client.toEnd();
    assert.equal((await running.lastLine())["reason"], "reply_stalled");
  });

  it("of a body over HTTP/1 goes on where its route sets no time", async () => {
    let taken = 0;
    await using instance = await httpInstance((request, response) => {
      request.on("data", (chunk: Buffer) => (taken += chunk.length)).on("end", () => response.end("done"));
    });
    const settings = { headersTimeoutMs: 200, requestTimeoutMs: 300 };
    await using running = await startGateway({ settings, routes: [openRoute({ timeoutMs: 0 })] });
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6000\r\n\r\n");
    // Node looks for what is late once a second.
    for (let turn = 1; turn <= 6; turn++) {
      client.send("x".repeat(1_000));
      await until(() => taken === turn * 1_000);
      if (turn < 6) await delay(500);
    }
    await client.matching(/^HTTP\/1\.1 200 [^]*done$/);
    client.socket.destroy();
  });
});
