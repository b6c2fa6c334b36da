import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { describe, it } from "node:test";
import { connect as connectTls } from "node:tls";
import { currentContext } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { makeCertificate } from "../testing/certificates.ts";
import { parseReply, RawConnection, startHttp, type TestHttp, type TestHttpOptions } from "../testing/http.ts";
import { tlsSettings } from "../tls/settings.ts";
import { readBody } from "./body.ts";
import type { HttpApp } from "./server.ts";

const text = "0123456789".repeat(10);

/** A connection that has sent so much. */
function connect({ server }: TestHttp, bytes: string): RawConnection {
  const connection = new RawConnection(server.port);
  connection.write(bytes);
  return connection;
}

/** A server that reads bodies of `text/raw`, and says what it got. */
function start(more: (app: HttpApp) => void = () => {}, settings: TestHttpOptions["settings"] = {}): Promise<TestHttp> {
  return startHttp({
    settings: { maxBodyBytes: 1_000, ...settings },
    routes: (app) => {
      app.addContentTypeParser("text/raw", readBody);
      more(app);
      app.post("/", ({ body, id, raw }) => {
        assert.ok(Buffer.isBuffer(body));
        return { body: body.toString(), complete: raw.complete, isInside: currentContext()?.requestId === id };
      });
    },
  });
}

function head(more: string): string {
  return `POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/raw\r\n${more}\r\n\r\n`;
}

function chunked(...parts: readonly string[]): string {
  return parts.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join("");
}

const whole = JSON.stringify({ body: text, complete: true, isInside: true });

describe("a body", () => {
  it("that comes with its head is there in the request's context, and the next one on the connection too", async () => {
    await using http = await start();
    const connection = connect(http, head("content-length: 100") + text);
    await connection.until(whole);
    connection.write(`${head("content-length: 3\r\nconnection: close")}abc${head("content-length: 3")}`);
    assert.match(await connection.ended, /"body":"abc"/);
  });

  it("is whole over TLS and over HTTP/2, and bounded there as well", async () => {
    const authority = makeCertificate({ name: "authority" });
    const folder = mkdtempSync(join(tmpdir(), "plinth-body-"));
    const [certFile, keyFile] = [join(folder, "tls.crt"), join(folder, "tls.key")];
    try {
      const { cert, key } = makeCertificate({ issuer: authority });
      writeFileSync(certFile, cert);
      writeFileSync(keyFile, key);
      await using http = await start(() => {}, { http2: true, tls: tlsSettings.parse({ certFile, keyFile }) });
      const to = { host: "127.0.0.1", servername: "localhost", port: http.server.port, ca: authority.cert };
      const socket = connectTls({ ...to, ALPNProtocols: ["http/1.1"] });
      const session = connectHttp2(`https://localhost:${to.port}`, {
        createConnection: () => connectTls({ ...to, ALPNProtocols: ["h2"] }),
      });
      try {
        socket.write(`${head("content-length: 100\r\nconnection: close")}${text}`);
        assert.equal(parseReply(await textOf(socket)).body, whole);
        for (const [body, expected] of [
          [text, whole],
          ["a".repeat(1_001), /ERR_REQUEST_TOO_LARGE/],
        ] as const) {
          const stream = session.request({ ":method": "POST", ":path": "/", "content-type": "text/raw" });
          stream.end(body);
          const reply = await textOf(stream);
          if (typeof expected === "string") assert.equal(reply, expected);
          else assert.match(reply, expected);
        }
      } finally {
        socket.destroy();
        session.destroy();
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("of each of several requests sent at once belongs to its own", async () => {
    await using http = await start();
    const bodies = ["a", "bc", "def"];
    const requests = bodies.map((body) => head(`content-length: ${body.length}`) + body);
    const connection = connect(http, requests.join("") + head("content-length: 0\r\nconnection: close"));
    const replies = await connection.ended;
    const found = [...replies.matchAll(/"body":"(\w*)"/g)].map(([, body]) => body);
    assert.deepEqual(found, [...bodies, ""]);
  });

  it("that comes in pieces after its head is whole", async () => {
    await using http = await start();
    const connection = connect(http, head("transfer-encoding: chunked\r\nconnection: close"));
    for (const part of [text.slice(0, 33), text.slice(33, 66), text.slice(66)]) {
      await until(() => connection.socket.writableLength === 0);
      connection.write(chunked(part));
    }
    connection.write("0\r\n\r\n");
    assert.equal(parseReply(await connection.ended).body, whole);
  });

  it("that waited in the stream for a hook, or is read by one as well, is whole", async () => {
    let counted = 0;
    await using http = await start((app) => {
      app.addHook("onRequest", ({ raw, headers }, _reply, done) => {
        if (headers["x-count"] === undefined) until(() => raw.readableLength === 100).then(() => done(), done);
        else {
          raw.on("data", (chunk: Buffer) => (counted += chunk.length));
          done();
        }
      });
    });
    const post = (headers: Record<string, string>) =>
      http.fetch("/", { method: "POST", body: text, headers: { "content-type": "text/raw", ...headers } });
    assert.equal(await (await post({})).text(), whole);
    assert.match(await (await post({ "x-count": "1" })).text(), new RegExp(text));
    assert.equal(counted, 100);
  });

  it("ends the stream of its request, for whoever waits for that", async () => {
    const events: string[] = [];
    await using http = await start((app) => {
      app.addHook("preParsing", ({ raw, id }, _reply, payload, done) => {
        for (const event of ["end", "close"])
          raw.once(event, () => events.push(currentContext()?.requestId === id ? event : `${event} outside`));
        done(null, payload);
      });
    });
    const reply = await http.fetch("/", { method: "POST", body: text, headers: { "content-type": "text/raw" } });
    assert.equal(await reply.text(), whole);
    await until(() => events.length === 2);
    assert.deepEqual(events, ["end", "close"]);
  });

  it("past the limit is refused: by its length before it is read, by its bytes as they come", async () => {
    await using http = await start();
    const announced = connect(http, head("content-length: 1001"));
    assert.equal(parseReply(await announced.ended).status, 413);
    const counted = connect(http, head("transfer-encoding: chunked") + chunked("a".repeat(600)));
    counted.write(chunked("a".repeat(401)) + chunked("a".repeat(401)));
    const reply = parseReply(await counted.ended);
    assert.equal(reply.status, 413);
    assert.match(reply.body, /ERR_REQUEST_TOO_LARGE/);
    const most = await http.fetch("/", {
      method: "POST",
      body: "a".repeat(1_000),
      headers: { "content-type": "text/raw" },
    });
    assert.equal(most.status, 200);
  });

  it("whose caller leaves in the middle reaches no handler, and fails with the caller's leaving", async () => {
    const failed: Error[] = [];
    let begun = 0;
    let handled = 0;
    await using http = await start((app) => {
      app.addHook("onRequest", async () => void begun++);
      app.addHook("preHandler", async () => void handled++);
      app.addHook("onError", async (_request, _reply, error) => void failed.push(error));
    });
    const connection = connect(http, head("content-length: 100") + text.slice(0, 50));
    await until(() => begun === 1);
    connection.socket.resetAndDestroy();
    await until(() => failed.length > 0);
    assert.deepEqual([handled, failed.map((error) => Reflect.get(error, "statusCode"))], [0, [400]]);
    assert.deepEqual(await http.reports(), []);
  });

  it("fails its request alone when a reader of it throws", async () => {
    await using http = await startHttp({
      routes: (app) => {
        app.addContentTypeParser("text/raw", (request, payload, done) =>
          readBody(request, payload, (_error, body) => {
            if (body?.toString() === "throw") throw new Error("a broken reader");
            done(null, body?.toString());
          }),
        );
        app.post("/", async ({ body }) => ({ body }));
      },
    });
    const post = (body: string) => http.fetch("/", { method: "POST", body, headers: { "content-type": "text/raw" } });
    assert.equal((await post("throw")).status, 500);
    assert.equal((await http.reports()).length, 1);
    assert.deepEqual(await (await post("fine")).json(), { body: "fine" });
  });
});
