import assert from "node:assert/strict";
import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionOptions,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import type { GatewaySettingsInput } from "../options.ts";
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

const settings = (more: GatewaySettingsInput = {}): GatewaySettingsInput => ({ http2: { cleartext: true }, ...more });

class Client implements Disposable {
  readonly session: ClientHttp2Session;
  goaway: number | undefined;

  constructor({ url }: Pick<TestGateway, "url">, options: ClientSessionOptions = {}) {
    this.session = connect(url, options);
    this.session.on("error", () => undefined);
    this.session.on("goaway", (code: number) => (this.goaway = code));
  }

  [Symbol.dispose](): void {
    this.session.destroy();
  }

  /** With its body still to be sent, when it is to have one. */
  ask(headers: OutgoingHttpHeaders = {}): ClientHttp2Stream {
    const stream = this.session.request({ ":path": "/", ...headers });
    stream.on("error", () => undefined);
    return stream;
  }

  get(headers: OutgoingHttpHeaders = {}): Promise<Reply> {
    return replyOf(this.ask(headers));
  }

  post(body: string | Buffer, headers: OutgoingHttpHeaders = {}): Promise<Reply> {
    const stream = this.ask({ ":method": "POST", ...headers });
    stream.end(body);
    return replyOf(stream);
  }
}

interface Reply {
  readonly head: IncomingHttpHeaders;
  readonly status: number;
  readonly text: string;
  readonly trailers: IncomingHttpHeaders | undefined;
  /** Undefined where the stream came to its own end. */
  readonly reset: number | undefined;
}

async function replyOf(stream: ClientHttp2Stream): Promise<Reply> {
  let head: IncomingHttpHeaders = {};
  let text = "";
  let trailers: IncomingHttpHeaders | undefined;
  stream.on("response", (given) => (head = given));
  stream.on("trailers", (given) => (trailers = given));
  stream.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  await new Promise<void>((resolve) => stream.once("close", () => resolve()));
  const reset = stream.rstCode === constants.NGHTTP2_NO_ERROR ? undefined : stream.rstCode;
  return { head, status: Number(head[":status"]), text, trailers, reset };
}

const reasonIn = ({ text }: Reply): unknown => /"reason":"(\w+)"/.exec(text)?.[1] ?? text;

describe("a gateway over HTTP/2", () => {
  it("forwards as it does over HTTP/1.1, and says by which it came", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ settings: settings() });
    await running.add(instance);
    using client = new Client(running);
    const reply = await client.post("hello", {
      ":path": "/a?b=c",
      "x-own": "1",
      cookie: ["a=1", "b=2"],
      te: "trailers",
    });
    assert.equal(reply.status, 200);
    assert.equal(typeof reply.head["x-request-id"], "string");
    const { method, url, headers, body } = JSON.parse(reply.text);
    assert.deepEqual([method, url, body], ["POST", "/a?b=c", "hello"]);
    const names = [
      "x-own",
      "cookie",
      "te",
      "transfer-encoding",
      "x-forwarded-host",
      "x-forwarded-proto",
      "x-forwarded-for",
    ];
    const host = running.url.slice("http://".length);
    assert.deepEqual(
      names.map((name) => headers[name]),
      [["1"], ["a=1; b=2"], ["trailers"], ["chunked"], [host], ["http"], ["127.0.0.1"]],
    );
    assert.deepEqual(headers.host, [host]);
    assert.ok(!Object.keys(headers).some((name) => name.startsWith(":")), "no pseudo-header goes on");
    const { method: logged, status, bytes, path } = await running.lastLine();
    assert.deepEqual([logged, status, bytes, path], ["POST", 200, reply.text.length, "/a"]);
  });

  it("gives an instance a length where the client does, and no body where there is none", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ settings: settings() });
    await running.add(instance);
    using client = new Client(running);
    const framing = async (reply: Promise<Reply>): Promise<unknown> => {
      const { headers, body } = JSON.parse((await reply).text);
      return [headers["content-length"]?.[0], headers["transfer-encoding"]?.[0], body];
    };
    assert.deepEqual(await framing(client.post("four", { "content-length": 4 })), ["4", undefined, "four"]);
    assert.deepEqual(await framing(client.get()), [undefined, undefined, ""]);
    const late = client.ask({ ":method": "POST" });
    setImmediate(() => late.end()); // its head has gone by then
    assert.equal(JSON.parse((await replyOf(late)).text).body, "");
  });

  it("serves many at one time on a connection, and HTTP/1.1 on the same port", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ settings: settings() });
    await running.add(instance);
    using client = new Client(running);
    const replies = await Promise.all(Array.from({ length: 150 }, (_, at) => client.get({ ":path": `/${at}` })));
    assert.deepEqual(
      replies.map(({ text }) => JSON.parse(text).url),
      replies.map((_, at) => `/${at}`),
    );
    assert.match(await running.metrics(), /gateway_http2_connections 1\n/);
    assert.equal((await fetch(running.url)).status, 200);
    const bare = await rawClient(running.gateway.port);
    bare.send("PRI * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert.match(await bare.toEnd(), /^HTTP\/1\.1 4/);
  });

  it("does not take it in the clear unless that is on, nor by an upgrade at any time", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway();
    await using open = await startGateway({ settings: settings() });
    await open.add(instance);
    const bare = await rawClient(running.gateway.port);
    bare.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert.match(await bare.toEnd(), /^HTTP\/1\.1 4|^$/);
    const upgrade = await rawClient(open.gateway.port);
    upgrade.send(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    );
    const text = await upgrade.toEnd();
    assert.match(text, /^HTTP\/1\.1 200 /);
    assert.doesNotMatch(text, /h2c|http2-settings/i);
  });

  it("answers itself with the same reasons, and the stream alone ends", async () => {
    await using running = await startGateway({
      settings: settings(),
      routes: [openRoute({ match: { path: "/a", methods: ["GET"] }, maxBodyBytes: 10 })],
    });
    using client = new Client(running);
    const found = [
      await client.get({ ":path": "/b" }),
      await client.post("x", { ":path": "/a" }),
      await client.get({ ":path": "/a", ":method": "HEAD" }),
      await client.get({ ":path": "/a%2fb" }),
      await client.get({ ":path": "/a", expect: "odd" }),
      await client.get({ ":path": "/a" }),
    ];
    assert.deepEqual(
      found.map((reply) => [reply.status, reasonIn(reply), reply.reset]),
      [
        [404, "route_not_found", undefined],
        [405, "method_not_allowed", undefined],
        [503, "", undefined],
        [400, "invalid_target", undefined],
        [417, "expectation_failed", undefined],
        [503, "no_instance", undefined],
      ],
    );
    assert.ok(found.every(({ head }) => head["connection"] === undefined && head["x-request-id"] !== undefined));
  });

  it("passes replies without a body, several lines of a name, and drops what belongs to a connection", async () => {
    await using instance = await httpInstance((request, response) => {
      if (request.url === "/204") response.writeHead(204).end();
      else if (request.url === "/304") response.writeHead(304, { etag: '"a"' }).end();
      else {
        response.writeHead(200, {
          "content-length": 4,
          "set-cookie": ["a=1", "b=2"],
          "keep-alive": "timeout=1",
          "x-odd": "\u00e9",
        });
        response.end(Buffer.from("four"));
      }
    });
    await using running = await startGateway({ settings: settings() });
    await running.add(instance);
    using client = new Client(running);
    const whole = await client.get();
    assert.deepEqual([whole.text, whole.head["content-length"], whole.head["x-odd"]], ["four", "4", "\u00e9"]);
    assert.deepEqual(whole.head["set-cookie"], ["a=1", "b=2"]);
    assert.equal(whole.head["keep-alive"], undefined);
    const head = await client.get({ ":method": "HEAD" });
    assert.deepEqual([head.status, head.text, head.head["content-length"], head.reset], [200, "", "4", undefined]);
    assert.deepEqual((await client.get({ ":path": "/204" })).status, 204);
    assert.deepEqual((await client.get({ ":path": "/304" })).status, 304);
  });

  it("passes trailers of a reply, though the client has not asked for them", async () => {
    await using instance = await httpInstance((_request, response) => {
      response.writeHead(200, { trailer: "x-sum" });
      response.write("body");
      response.addTrailers({ "x-sum": "1", age: "3" });
      response.end();
    });
    await using running = await startGateway({ settings: settings() });
    await running.add(instance);
    using client = new Client(running);
    const { text, trailers, reset } = await client.get();
    assert.deepEqual([text, Object.entries(trailers ?? {}), reset], ["body", [["x-sum", "1"]], undefined]);
  });

  it("passes trailers of a request, whether its body is long or there is none, and no claims in them", async () => {
    const claims = { "plinth-subject": "admin", age: "4", authorization: "Bearer a" };
    await using instance = await httpInstance((request, response) => {
      request.resume().once("end", () => response.end(JSON.stringify(request.rawTrailers)));
    });
    await using running = await startGateway({ settings: settings() });
    await running.add(instance);
    using client = new Client(running);
    for (const bytes of [0, 1, 300_000]) {
      const stream = client.session.request({ ":path": "/", ":method": "POST" }, { waitForTrailers: true });
      stream.once("wantTrailers", () => stream.sendTrailers({ "x-sum": "1", ...claims }));
      const reply = replyOf(stream);
      if (bytes > 0) stream.write(Buffer.alloc(bytes));
      stream.end();
      assert.deepEqual(JSON.parse((await reply).text), ["x-sum", "1"], `after ${bytes} bytes`);
    }
    const bare = await rawClient(running.gateway.port);
    bare.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    bare.send("1\r\na\r\n0\r\nX-Sum: 1\r\nPlinth-Subject: admin\r\n\r\n");
    assert.match(await bare.toEnd(), /\["X-Sum","1"\]/i);
  });

  it("tells a client to go on with its body when it is wanted, and not when it is refused", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({
      settings: settings(),
      routes: [openRoute({ match: { path: "/**", methods: ["POST"] } })],
    });
    await running.add(instance);
    using client = new Client(running);
    const stream = client.ask({ ":method": "POST", expect: "100-continue" });
    const reply = replyOf(stream);
    await once(stream, "continue");
    stream.end("late");
    assert.equal(JSON.parse((await reply).text).body, "late");
    const refused = client.ask({ ":method": "PUT", expect: "100-continue" });
    refused.on("continue", () => assert.fail("it is not wanted"));
    assert.equal((await replyOf(refused)).status, 405);
  });

  it("refuses a body that is too large half way, and goes on with the connection", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ settings: settings(), routes: [openRoute({ maxBodyBytes: 100 })] });
    await running.add(instance);
    using client = new Client(running);
    const stream = client.ask({ ":method": "POST" });
    stream.write(Buffer.alloc(200));
    const reply = await replyOf(stream);
    assert.deepEqual([reply.status, reasonIn(reply), reply.reset], [413, "body_too_large", undefined]);
    assert.equal((await client.get()).status, 200);
  });

  it("breaks a stream off, and only that, when the instance breaks off its reply", async () => {
    await using instance = await socketInstance(sayOnce("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfour", "end"));
    await using running = await startGateway({ settings: settings() });
    await running.add(instance);
    using client = new Client(running);
    const { text, reset } = await client.get();
    assert.deepEqual([text, reset], ["four", constants.NGHTTP2_INTERNAL_ERROR]);
    assert.equal((await running.lastLine())["reason"], "reply_cut_off");
    assert.equal(client.goaway, undefined);
    assert.ok(!client.session.destroyed);
  });

  for (const how of ["a reset", "a reset that says nothing is wrong", "the end of the connection"]) {
    it(`ends what it does for a client that is gone by ${how}`, async () => {
      let gone = 0;
      await using instance = await httpInstance((request) => {
        request.on("error", () => undefined).resume();
        request.once("close", () => gone++);
      });
      await using running = await startGateway({ settings: settings() });
      await running.add(instance);
      using client = new Client(running);
      const asked = client.ask({ ":method": "POST" });
      asked.write("half");
      const kept = client.ask();
      await until(() => instance.accepted === 2);
      if (how === "the end of the connection") client.session.destroy();
      else asked.close(how === "a reset" ? constants.NGHTTP2_CANCEL : constants.NGHTTP2_NO_ERROR);
      const count = how === "the end of the connection" ? 2 : 1;
      await until(() => gone === count, { what: "the instance to be left" });
      const lines = await running.lines(count);
      assert.deepEqual(
        lines.map(({ reason, status }) => [reason, status]),
        lines.map(() => ["client_gone", 499]),
      );
      kept.destroy();
      assert.deepEqual(running.reports, []);
    });
  }

  it("holds an instance back while the client does not read, and cuts off who never does", async () => {
    let written = 0;
    await using instance = await httpInstance((_request, response) => {
      response.on("error", () => undefined);
      const more = (): void => {
        while (response.write(Buffer.alloc(65_536))) written += 65_536;
      };
      response.writeHead(200).on("drain", more);
      more();
    });
    await using running = await startGateway({ settings: settings({ idleTimeoutMs: 200 }) });
    await running.add(instance);
    using client = new Client(running);
    const stream = client.ask();
    await once(stream, "response");
    await new Promise<void>((resolve) => stream.once("close", () => resolve()).once("aborted", () => resolve()));
    assert.ok(written < 16 * 1_048_576, `${written} bytes were taken`);
    assert.equal((await running.lastLine())["reason"], "client_gone");
  });

  it("refuses what does not arrive in time", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ settings: settings({ headersTimeoutMs: 50, requestTimeoutMs: 50 }) });
    await running.add(instance);
    using client = new Client(running);
    const stream = client.ask({ ":method": "POST" });
    stream.write("half");
    const reply = await replyOf(stream);
    assert.deepEqual([reply.status, reasonIn(reply)], [408, "request_timeout"]);
    using silent = new Client(running);
    await once(silent.session, "close"); // without a request it has the time of a head
    assert.equal(silent.goaway, constants.NGHTTP2_NO_ERROR);
  });
});

describe("the drain of a gateway over HTTP/2", () => {
  it("lets what is under way end, after a GOAWAY, and closes the connection then", async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    await using instance = await httpInstance((_request, response) => {
      response.writeHead(200).write("first");
      void held.then(() => response.end("last"));
    });
    await using running = await startGateway({ settings: settings() });
    await running.add(instance);
    using client = new Client(running);
    const stream = client.ask();
    const reply = replyOf(stream);
    await once(stream, "response");
    const drained = running.gateway.drain();
    await until(() => client.goaway === constants.NGHTTP2_NO_ERROR);
    release();
    const { text, reset } = await reply;
    assert.deepEqual([text, reset], ["firstlast", undefined]);
    await drained;
    assert.ok(client.session.destroyed || client.session.closed);
  });

  it("sends who asks one thing at a time elsewhere with the next reply", async () => {
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ settings: settings() });
    await running.add(instance);
    using client = new Client(running);
    assert.equal((await client.get()).status, 200);
    running.gateway.announceDrain();
    const { status, head } = await client.get();
    assert.deepEqual([status, head["connection"]], [200, undefined]);
    await until(() => client.goaway === constants.NGHTTP2_NO_ERROR);
  });

  it("cuts off in its second stage what has not ended", async () => {
    await using instance = await httpInstance((_request, response) => void response.writeHead(200).write("first"));
    await using running = await startGateway({ settings: settings() });
    await running.add(instance);
    using client = new Client(running);
    const stream = client.ask();
    const reply = replyOf(stream);
    await once(stream, "response");
    const waiting = await rawClient(running.gateway.port); // has sent nothing yet
    await running.gateway.drain({ signal: AbortSignal.abort() });
    await reply;
    await waiting.toEnd();
    assert.equal((await running.lastLine())["reason"], "gateway_stopped");
  });
});
