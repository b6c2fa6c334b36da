import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AppError } from "@plinth/kernel";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { LookRequestSchema, LookResponseSchema, LookService } from "../gen/plinth/transport/testing/v1/look_pb.ts";
import { echoHandlers } from "../testing/grpc.ts";
import { startHttp, type TestHttp, type TestHttpOptions } from "../testing/http.ts";
import { connectRoutes } from "./connect.ts";
import { type RpcHandlers, rpcService } from "./service.ts";

const say = `/${EchoService.typeName}/Say`;
const look = `/${LookService.typeName}/Look`;
const json = { "content-type": "application/json" };

const lookHandlers: RpcHandlers<typeof LookService> = { look: ({ text, data }) => ({ text, data }) };

function start(
  handlers: { readonly echo?: Partial<RpcHandlers<typeof EchoService>>; readonly look?: typeof lookHandlers.look } = {},
  options: TestHttpOptions = {},
): Promise<TestHttp> {
  const services = [
    rpcService(EchoService, { ...echoHandlers, ...handlers.echo }),
    rpcService(LookService, handlers.look ? { look: handlers.look } : lookHandlers),
  ];
  return startHttp({ ...options, routes: connectRoutes(services) });
}

describe("a method without side effects", () => {
  const text = encodeURIComponent(JSON.stringify({ text: "hé +&=", data: "AP8=" }));
  const base64 = Buffer.from(JSON.stringify({ text: "hé +&=", data: "AP8=" })).toString("base64url");
  const zipped = gzipSync(JSON.stringify({ text: "hé +&=", data: "AP8=" })).toString("base64url");

  for (const [name, query] of [
    ["as text", `connect=v1&encoding=json&message=${text}`],
    ["without a version", `encoding=json&message=${text}`],
    ["in base64", `connect=v1&base64=1&encoding=json&message=${base64}`],
    ["in base64 with padding, escaped", `base64=1&encoding=json&message=${base64}${escapedPadding(base64)}`],
    ["compressed", `connect=v1&base64=1&compression=gzip&encoding=json&message=${zipped}`],
    ["not compressed, and saying so", `compression=identity&encoding=json&message=${text}`],
  ] as const) {
    it(`can be called by GET, its message ${name}`, async () => {
      await using http = await start();
      const response = await http.fetch(`${look}?${query}`);
      assert.deepEqual([response.status, response.headers.get("content-type")], [200, "application/json"]);
      assert.deepEqual(await response.json(), { text: "hé +&=", data: "AP8=" });
    });
  }

  it("can be called by GET in binary, as base64 or byte for byte", async () => {
    await using http = await start();
    const bytes = Buffer.from(
      toBinary(LookRequestSchema, create(LookRequestSchema, { text: "hé", data: Uint8Array.of(0, 255, 37) })),
    );
    const escaped = [...bytes].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
    for (const query of [`base64=1&message=${bytes.toString("base64url")}`, `message=${escaped}`]) {
      const response = await http.fetch(`${look}?encoding=proto&${query}`);
      assert.deepEqual([response.status, response.headers.get("content-type")], [200, "application/proto"]);
      const reply = fromBinary(LookResponseSchema, new Uint8Array(await response.arrayBuffer()));
      assert.deepEqual([reply.text, [...reply.data]], ["hé", [0, 255, 37]]);
    }
  });

  it("can still be called by POST", async () => {
    await using http = await start();
    const response = await http.fetch(look, { method: "POST", headers: json, body: '{"text":"x"}' });
    assert.deepEqual(await response.json(), { text: "x" });
  });

  it("says how long its reply may be kept, if its handler does", async () => {
    await using http = await start({
      look: (_request, call) => {
        call.setReplyHeader("cache-control", "max-age=60");
        call.setReplyHeader("etag", '"1"');
        return {};
      },
    });
    const { headers } = await http.fetch(`${look}?encoding=json&message={}`);
    assert.deepEqual([headers.get("cache-control"), headers.get("etag")], ["max-age=60", '"1"']);
  });

  for (const [name, query, status, code] of [
    ["no query", "", 415, "invalid_argument"],
    ["no message", "encoding=json", 400, "invalid_argument"],
    ["an empty message, which is no JSON", "encoding=json&message=", 400, "invalid_argument"],
    ["another encoding", "encoding=yaml&message={}", 415, "invalid_argument"],
    ["another version", "connect=v2&encoding=json&message={}", 400, "invalid_argument"],
    ["another compression", "compression=br&base64=1&encoding=json&message=e30", 501, "unimplemented"],
    ["what is no gzip", "compression=gzip&base64=1&encoding=json&message=e30", 400, "invalid_argument"],
    ["what is no base64", "base64=1&encoding=json&message=%5B%21", 400, "invalid_argument"],
    ["another word about base64", "base64=yes&encoding=json&message=e30", 400, "invalid_argument"],
    ["a broken escape", "encoding=json&message=%7", 400, "invalid_argument"],
    ["a message of another type", "encoding=json&message=[]", 400, "invalid_argument"],
  ] as const) {
    it(`is not called by GET with ${name}: ${status} ${code}`, async () => {
      await using http = await start();
      const response = await http.fetch(`${look}?${query}`);
      const body = await bodyOf(response);
      assert.deepEqual([response.status, body.code], [status, code], JSON.stringify(body));
      assert.deepEqual(await http.reports(), []);
    });
  }

  it("takes the first of two messages in a query", async () => {
    await using http = await start();
    const response = await http.fetch(`${look}?encoding=json&message={"text":"1"}&message={"text":"2"}`);
    assert.deepEqual(await response.json(), { text: "1" });
  });
});

describe("a compressed message", () => {
  it("is read, in JSON and in binary", async () => {
    await using http = await start();
    const zipped = await http.fetch(look, {
      method: "POST",
      headers: { ...json, "content-encoding": "gzip" },
      body: gzipSync('{"text":"hé"}'),
    });
    assert.deepEqual(await zipped.json(), { text: "hé" });
    const bytes = toBinary(LookRequestSchema, create(LookRequestSchema, { text: "hé" }));
    const binary = await http.fetch(look, {
      method: "POST",
      headers: { "content-type": "application/proto", "content-encoding": "gzip" },
      body: gzipSync(bytes),
    });
    assert.equal(fromBinary(LookResponseSchema, new Uint8Array(await binary.arrayBuffer())).text, "hé");
  });

  it("that becomes more than the limit is refused without being inflated to its end", async () => {
    await using http = await start({}, { settings: { maxBodyBytes: 10_000 } });
    const bomb = gzipSync(JSON.stringify({ text: "x".repeat(1_000_000) }));
    assert.ok(bomb.length < 10_000);
    const response = await http.fetch(look, {
      method: "POST",
      headers: { ...json, "content-encoding": "gzip" },
      body: bomb,
    });
    assert.deepEqual([response.status, (await bodyOf(response)).code], [413, "resource_exhausted"]);
  });

  for (const [name, body] of [
    ["no gzip", "{}"],
    ["cut short", gzipSync('{"text":"hello"}').subarray(0, 15)],
    ["empty", ""],
  ] as const) {
    it(`that is ${name} is the caller's fault`, async () => {
      await using http = await start();
      const response = await http.fetch(look, {
        method: "POST",
        headers: { ...json, "content-encoding": "gzip" },
        body,
      });
      assert.deepEqual([response.status, (await bodyOf(response)).code], [400, "invalid_argument"]);
      assert.deepEqual(await http.reports(), []);
    });
  }

  it("of an unknown encoding is answered with those that are known", async () => {
    await using http = await start();
    const response = await http.fetch(look, {
      method: "POST",
      headers: { ...json, "content-encoding": "br" },
      body: "{}",
    });
    assert.deepEqual([response.status, response.headers.get("accept-encoding")], [501, "gzip, identity"]);
  });
});

describe("the path of a method", () => {
  it("takes no other method of HTTP, and says which it takes", async () => {
    await using http = await start();
    for (const [path, allow] of [
      [say, "POST"],
      [look, "GET, POST"],
    ] as const) {
      for (const method of ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
        if (method === "GET" && path === look) continue;
        const response = await http.fetch(path, { method });
        assert.deepEqual([response.status, response.headers.get("allow")], [405, allow], `${method} ${path}`);
        await response.arrayBuffer();
      }
    }
  });

  it("refuses another media type before the body has come, and says which it reads", async () => {
    await using http = await start();
    const connection = http.connect();
    connection.write(`POST ${say} HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\ncontent-length: 100000\r\n\r\n`);
    await connection.until('"code":"invalid_argument"');
    assert.match(connection.received, /^HTTP\/1\.1 415 /);
    assert.match(connection.received, /accept-post: application\/json, application\/proto/i);
    connection.destroy();
  });

  for (const [type, status] of [
    ["application/json; charset=utf-8", 200],
    ["Application/JSON", 200],
    ["application/json; charset=latin1", 415],
    ["application/jsonx", 415],
    ["application/grpc", 415],
    ["application/connect+proto", 415],
  ] as const) {
    it(`answers ${type} with ${status}`, async () => {
      await using http = await start();
      const response = await http.fetch(say, { method: "POST", headers: { "content-type": type }, body: "{}" });
      assert.equal(response.status, status);
      await response.arrayBuffer();
    });
  }
});

describe("the metadata of a call over HTTP", () => {
  it("is read by the handler, and set ahead of its reply and after it", async () => {
    await using http = await start({
      echo: {
        say: async (_request, call) => {
          await new Promise(setImmediate);
          call.setReplyHeader("x-leading", call.header("x-given") ?? "");
          call.setReplyTrailer("x-trailing", "after");
          return { text: `${call.protocol} ${call.clientAddress} ${String(call.header("x-absent"))}` };
        },
      },
    });
    const response = await http.fetch(say, { method: "POST", headers: { ...json, "x-given": "a, b" }, body: "{}" });
    assert.deepEqual(
      [response.headers.get("x-leading"), response.headers.get("trailer-x-trailing")],
      ["a, b", "after"],
    );
    assert.deepEqual(await response.json(), { text: "http 127.0.0.1 undefined" });
  });

  it("goes with an error too", async () => {
    await using http = await start({
      echo: {
        say: (_request, call) => {
          call.setReplyHeader("x-leading", "1");
          call.setReplyTrailer("x-trailing", "2");
          throw new AppError("ERR_NOTE_GONE", "not_found", "no such note");
        },
      },
    });
    const response = await http.fetch(say, { method: "POST", headers: json, body: "{}" });
    const { headers, status } = response;
    assert.deepEqual([status, headers.get("x-leading"), headers.get("trailer-x-trailing")], [404, "1", "2"]);
    assert.equal((await bodyOf(response)).code, "not_found");
  });
});

function escapedPadding(text: string): string {
  return "%3D".repeat((4 - (text.length % 4)) % 4);
}

async function bodyOf(response: Response) {
  return JSON.parse(await response.text());
}
