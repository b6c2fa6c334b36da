import assert from "node:assert/strict";
import { once } from "node:events";
import { get, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, it } from "node:test";
import zlib from "node:zlib";
import { until } from "@plinth/kernel/testing";
import { startHttp, type TestHttp, testSettings } from "../testing/http.ts";
import type { CompressionSettings } from "./compression.ts";
import { negotiate } from "./content-coding.ts";
import type { HttpRoutes } from "./server.ts";

const text = JSON.stringify({ notes: "all work and no play ".repeat(500) });
const json = "application/json";

const routes: HttpRoutes = (app) => {
  app.get("/big", async (_request, reply) => reply.type(json).header("etag", '"v1"').send(text));
  app.get("/small", async () => ({ ok: true }));
  app.get("/image", async (_request, reply) => reply.type("image/png").send(Buffer.alloc(10_000)));
  app.get("/stream", async (_request, reply) => reply.type("text/plain").send(Readable.from([text, text])));
  app.get("/secret", { config: { compress: false } }, async (_request, reply) => reply.type(json).send(text));
  app.get("/as-is", async (_request, reply) => reply.type(json).header("cache-control", "no-transform").send(text));
  app.get("/coded", async (_request, reply) => reply.type(json).header("content-encoding", "x-own").send(text));
  app.get("/digest", async (_request, reply) => reply.type(json).header("content-digest", "sha-256=:x:").send(text));
  app.get("/part", async (_request, reply) =>
    reply.code(206).type(json).header("content-range", "bytes 0-9/9").send(text),
  );
  app.get("/none", async (_request, reply) => reply.code(204).send());
  app.get("/varied", async (_request, reply) => reply.type(json).header("vary", "accept").send(text));
  app.get("/long-error", async () => {
    throw new Error(text);
  });
};

function start(compression: Partial<CompressionSettings> = { replies: true }, given: HttpRoutes = routes) {
  const settings = { compression: { ...testSettings.compression, ...compression }, maxBodyBytes: 1_048_576 };
  return startHttp({ routes: given, settings });
}

interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
}

/** `fetch` would undo the coding. */
async function ask(http: TestHttp, path: string, encoding?: string, method = "GET"): Promise<Reply> {
  const request = get(`${http.origin}${path}`, {
    method,
    headers: encoding === undefined ? {} : { "accept-encoding": encoding },
  });
  const [response]: IncomingMessage[] = await once(request, "response");
  assert.ok(response);
  return { status: response.statusCode ?? 0, headers: response.headers, bytes: await buffer(response) };
}

const undo: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  br: zlib.brotliDecompressSync,
  gzip: zlib.gunzipSync,
  zstd: zlib.zstdDecompressSync,
};

describe("compressed replies", () => {
  it("are off by default", async () => {
    await using http = await startHttp({ routes });
    const { headers } = await ask(http, "/big", "gzip, br");
    assert.deepEqual([headers["content-encoding"], headers.vary], [undefined, undefined]);
  });

  for (const coding of ["br", "gzip", "zstd"]) {
    it(`are made by ${coding}, whole and as streams, with the length and tag that they have`, async () => {
      await using http = await start();
      const whole = await ask(http, "/big", coding);
      assert.equal(whole.headers["content-encoding"], coding);
      assert.equal(whole.headers["content-length"], String(whole.bytes.length));
      assert.ok(whole.bytes.length < text.length / 4);
      assert.equal(String(undo[coding]?.(whole.bytes)), text);
      assert.equal(whole.headers.etag, 'W/"v1"');
      assert.equal(whole.headers.vary, "accept-encoding");
      const stream = await ask(http, "/stream", coding);
      assert.equal(stream.headers["content-length"], undefined);
      assert.equal(String(undo[coding]?.(stream.bytes)), text + text);
    });
  }

  it("are left as they are for who takes no coding, and say to caches that it depends", async () => {
    await using http = await start();
    for (const encoding of [undefined, "identity", "gzip;q=0, br;q=0", "x-unknown"]) {
      const { headers, bytes } = await ask(http, "/big", encoding);
      assert.deepEqual(
        [headers["content-encoding"], headers.vary, headers.etag],
        [undefined, "accept-encoding", '"v1"'],
      );
      assert.equal(String(bytes), text);
    }
    assert.equal((await ask(http, "/varied", "gzip")).headers.vary, "accept, accept-encoding");
  });

  for (const [path, why] of [
    ["/small", "for it is small"],
    ["/image", "for its type is compressed already"],
    ["/secret", "for its route says so"],
    ["/as-is", "for cache-control says so"],
    ["/digest", "for its bytes are spoken of"],
    ["/part", "for it is a part"],
    ["/none", "for there is nothing"],
    ["/coded", "for it is coded"],
  ] as const) {
    it(`leave ${path} as it is, ${why}`, async () => {
      await using http = await start();
      const { headers } = await ask(http, path, "gzip");
      assert.equal(headers["content-encoding"], path === "/coded" ? "x-own" : undefined);
      assert.equal(headers.vary, undefined);
    });
  }

  it("have no body for HEAD, and say that it depends", async () => {
    await using http = await start();
    const { status, headers, bytes } = await ask(http, "/big", "gzip", "HEAD");
    assert.deepEqual(
      [status, headers["content-encoding"], headers["content-length"], headers.vary, bytes.length],
      [200, undefined, undefined, "accept-encoding", 0],
    );
    const plain = await ask(http, "/big", undefined, "HEAD");
    assert.deepEqual([plain.headers["content-length"], plain.headers.vary], [String(text.length), "accept-encoding"]);
    const small = await ask(http, "/small", "gzip", "HEAD");
    assert.deepEqual([small.headers["content-length"], small.headers.vary], ["11", undefined]);
  });

  it("leave errors readable", async () => {
    await using http = await start({ replies: true, minBytes: 0 });
    const { status, headers, bytes } = await ask(http, "/long-error", "gzip");
    assert.deepEqual([status, headers["content-type"]], [500, "application/problem+json"]);
    assert.match(String(headers["content-encoding"] === "gzip" ? zlib.gunzipSync(bytes) : bytes), /ERR_INTERNAL/);
  });

  it("hand on each piece of a stream at once, so that events arrive when they are sent", async () => {
    const source = new PassThrough();
    await using http = await start({ replies: true }, (app) => {
      app.get("/events", async (_request, reply) => reply.type("text/event-stream").send(source));
    });
    const request = get(`${http.origin}/events`, { headers: { "accept-encoding": "gzip" } });
    source.write("data: one\n\n");
    const [response]: IncomingMessage[] = await once(request, "response");
    assert.ok(response);
    const events = response.pipe(zlib.createGunzip());
    assert.equal(String((await once(events, "data"))[0]), "data: one\n\n");
    source.write("data: two\n\n");
    assert.equal(String((await once(events, "data"))[0]), "data: two\n\n");
    source.end();
    await once(events, "end");
  });

  it("break off with their source, and end it with their reader", async () => {
    let source = new PassThrough();
    await using http = await start({ replies: true }, (app) => {
      app.get("/endless", async (_request, reply) => {
        source = new PassThrough();
        source.write(text);
        return reply.type("text/plain").send(source);
      });
    });
    const open = async () => {
      const request = get(`${http.origin}/endless`, { headers: { "accept-encoding": "gzip" } });
      const [response]: IncomingMessage[] = await once(request, "response");
      assert.ok(response);
      return response;
    };
    const broken = await open();
    source.destroy(new Error("the source broke"));
    await assert.rejects(buffer(broken), { code: "ECONNRESET" });
    const left = await open();
    left.destroy();
    await until(() => source.destroyed);
  });
});

describe("negotiate", () => {
  const cases: readonly (readonly [string | undefined, string | undefined])[] = [
    [undefined, undefined],
    ["", undefined],
    ["gzip", "gzip"],
    ["GZIP", "gzip"],
    ["x-gzip", "gzip"],
    ["gzip, deflate, br, zstd", "br"],
    ["gzip;q=1, br;q=0.5", "gzip"],
    ["gzip;q=0.5, zstd;q=0.8", "zstd"],
    ["gzip;q=0", undefined],
    ["gzip;q=0.000", undefined],
    ["*", "br"],
    ["*;q=0.5, br;q=0", "zstd"],
    ["*;q=0", undefined],
    ["identity, gzip;q=0.5", undefined],
    ["identity;q=0.5, gzip;q=0.8", "gzip"],
    ["gzip;q=2", undefined],
    ["gzip;q=-1", undefined],
    ["gzip;q=nan", undefined],
    ["gzip;q=", undefined],
    ["gzip ; Q = 0.5", "gzip"],
    [",,,", undefined],
    [`${"a,".repeat(5_000)}gzip`, undefined],
  ];
  for (const [accepted, coding] of cases)
    it(`takes ${JSON.stringify(accepted?.slice(0, 40))} for ${coding}`, () =>
      assert.equal(negotiate(accepted), coding));
});
