import assert from "node:assert/strict";
import { type IncomingHttpHeaders, type OutgoingHttpHeaders, request, type RequestListener } from "node:http";
import { describe, it } from "node:test";
import { buffer } from "node:stream/consumers";
import { brotliDecompressSync, createGunzip, gunzipSync, zstdDecompressSync } from "node:zlib";
import { until } from "@plinth/kernel/testing";
import type { GatewayDocument } from "../config/schema.ts";
import { httpInstance, openRoute, rawClient, startGateway } from "../testing/kit.ts";

const page = "<p>a page of a service</p>\n".repeat(2_000);

interface Got {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

function get(url: string, headers: OutgoingHttpHeaders = { "accept-encoding": "gzip" }, method = "GET"): Promise<Got> {
  return new Promise((resolve, reject) => {
    request(url, { method, headers }, (reply) => {
      buffer(reply).then((body) => resolve({ status: reply.statusCode, headers: reply.headers, body }), reject);
    })
      .on("error", reject)
      .end();
  });
}

async function started(
  listener: RequestListener,
  compress: GatewayDocument["compress"] = true,
  settings: { maxCompressions?: number } = {},
) {
  const instance = await httpInstance(listener);
  const running = await startGateway({ document: { compress, routes: [openRoute()] }, settings });
  await running.add(instance);
  return {
    ...running,
    instance,
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      await instance.close();
    },
  };
}

const open = async (metrics: string): Promise<string | undefined> =>
  /gateway_compressions_open (\d+)/.exec(metrics)?.[1];

const servePage: RequestListener = (_request, response) => {
  response.writeHead(200, {
    "content-type": "text/html",
    "content-length": page.length,
    etag: '"v1"',
    "accept-ranges": "bytes",
    vary: "origin",
  });
  response.end(page);
};

describe("a compressed reply", () => {
  const readers = { gzip: gunzipSync, br: brotliDecompressSync, zstd: zstdDecompressSync };
  for (const coding of ["gzip", "br", "zstd"] as const) {
    for (const level of ["fast", "small"] as const) {
      it(`in ${coding}, ${level}, is whole and says what it is`, async () => {
        await using running = await started(servePage, { codings: ["zstd", "br", "gzip"], level });
        const { headers, body } = await get(running.url, { "accept-encoding": coding });
        assert.equal(readers[coding](body).toString(), page);
        assert.ok(body.length < page.length / 10);
        assert.deepEqual(
          [
            headers["content-encoding"],
            headers.vary,
            headers.etag,
            headers["content-length"],
            headers["accept-ranges"],
          ],
          [coding, "origin, accept-encoding", 'W/"v1"', undefined, undefined],
        );
        const { bytes } = await running.lastLine();
        assert.equal(bytes, body.length);
        assert.match(await running.metrics(), new RegExp(`gateway_compressed_replies_total\\{coding="${coding}"\\} 1`));
        await until(async () => (await open(await running.metrics())) === "0");
      });
    }
  }

  it("has the same head for HEAD, and 304 knows its tag again", async () => {
    await using running = await started((asking, response) => {
      if (asking.headers["if-none-match"] === undefined) servePage(asking, response);
      else response.writeHead(304, { etag: '"v1"' }).end();
    });
    const whole = await get(running.url);
    const { headers, body } = await get(running.url, { "accept-encoding": "gzip" }, "HEAD");
    for (const name of ["content-encoding", "vary", "etag", "content-length"] as const) {
      assert.equal(headers[name], whole.headers[name], name);
    }
    assert.equal(body.length, 0);
    const known = await get(running.url, { "accept-encoding": "gzip", "if-none-match": 'W/"v1"' });
    assert.deepEqual([known.status, known.headers.etag], [304, 'W/"v1"']);
  });

  it("is not there unless the document says so, and a route may say otherwise", async () => {
    await using running = await started(servePage, false);
    assert.equal((await get(running.url)).headers["content-encoding"], undefined);
    await running.gateway.reload({ compress: true, routes: [openRoute({ compress: false })] });
    assert.equal((await get(running.url)).headers.vary, "origin");
    await running.gateway.reload({ routes: [openRoute({ compress: { minBytes: page.length } })] });
    assert.equal((await get(running.url)).headers["content-encoding"], "gzip");
  });

  it("goes as it is where as many are under way as may be, or to HTTP/1.0", async () => {
    await using running = await started(servePage, true, { maxCompressions: 0 });
    const { headers, body } = await get(running.url);
    assert.deepEqual([headers["content-encoding"], headers.vary], [undefined, "origin, accept-encoding"]);
    assert.equal(body.toString(), page);
    assert.match(await running.metrics(), /gateway_compressed_replies_total\{coding="busy"\} 1/);
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.0\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n");
    assert.doesNotMatch(await client.toEnd(), /content-encoding/i);
  });

  it("of unknown length reaches the client piece by piece, with its trailers behind it", async () => {
    let more: (() => void) | undefined;
    await using running = await started(
      (_request, response) => {
        response.writeHead(200, { "content-type": "text/event-stream", trailer: "x-sum" });
        response.write("data: one\n\n");
        more = () => {
          response.addTrailers({ "x-sum": "2" });
          response.end("data: two\n\n");
        };
      },
      { types: ["text/event-stream"] },
    );
    let text = "";
    let trailers: unknown;
    request(running.url, { headers: { "accept-encoding": "gzip", te: "trailers", connection: "te" } }, (reply) => {
      reply.pipe(createGunzip()).on("data", (chunk: Buffer) => (text += chunk.toString()));
      reply.on("end", () => (trailers = reply.trailers));
    }).end();
    await until(() => text === "data: one\n\n" && more);
    more?.();
    await until(() => text === "data: one\n\ndata: two\n\n" && trailers);
    assert.deepEqual({ ...Object(trailers) }, { "x-sum": "2" });
  });

  it("that breaks off in the middle resets the client's connection, and frees its memory", async () => {
    let cut: (() => void) | undefined;
    await using running = await started((_request, response) => {
      response.writeHead(200, { "content-type": "text/plain" });
      response.write("half");
      cut = () => response.destroy();
    });
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n");
    await client.matching(/content-encoding: gzip\r\n[^]*\r\n\r\n./);
    assert.equal(await open(await running.metrics()), "1");
    cut?.();
    assert.doesNotMatch(await client.toEnd(), /\r\n0\r\n\r\n$/);
    assert.equal((await running.lastLine()).reason, "reply_cut_off");
    await until(async () => (await open(await running.metrics())) === "0");
  });

  it("holds nothing for a client that has gone", async () => {
    const noise = Buffer.from(Array.from({ length: 65_536 }, () => Math.floor(Math.random() * 256)));
    let sent = 0;
    let isBlocked = false;
    await using running = await started((_request, response) => {
      response.writeHead(200, { "content-type": "text/plain" });
      const write = (): void => {
        while (sent < 256 * 2 ** 20) {
          sent += noise.length;
          if (!response.write(noise)) {
            isBlocked = true;
            response.once("drain", () => ((isBlocked = false), write()));
            return;
          }
        }
      };
      write();
    });
    const client = await rawClient(running.gateway.port);
    client.socket.pause();
    client.send("GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n");
    await until(async () => (await open(await running.metrics())) === "1" && isBlocked);
    client.socket.destroy();
    assert.equal((await running.lastLine()).reason, "client_gone");
    await until(async () => (await open(await running.metrics())) === "0");
    await until(() => running.instance.sockets.size === 0);
  });
});
