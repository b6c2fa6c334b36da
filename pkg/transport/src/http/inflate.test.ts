import assert from "node:assert/strict";
import { describe, it } from "node:test";
import zlib from "node:zlib";
import { parseReply, startHttp, type TestHttp, testSettings } from "../testing/http.ts";
import type { HttpRoutes } from "./server.ts";

let handled = 0;
const routes: HttpRoutes = (app) => {
  app.post("/", async ({ body, headers }) => {
    handled++;
    return { body, coding: headers["content-encoding"] ?? null };
  });
};

function start(more: Partial<typeof testSettings.compression> = {}) {
  return startHttp({ routes, settings: { compression: { ...testSettings.compression, requests: true, ...more } } });
}

function post(http: TestHttp, body: Uint8Array<ArrayBuffer> | string, coding: string): Promise<Response> {
  return http.fetch("/", {
    method: "POST",
    body,
    headers: { "content-type": "application/json", "content-encoding": coding },
  });
}

const bytes = (given: Buffer) => new Uint8Array(given);
const gzip = (text: string | Buffer) => bytes(zlib.gzipSync(text));

async function refused(reply: Response, status: number, code: string): Promise<void> {
  const text = await reply.text();
  assert.equal(reply.status, status, text);
  assert.match(text, new RegExp(`"code":"${code}"`));
}

describe("compressed request bodies", () => {
  it("are answered with 415 by default", async () => {
    await using http = await startHttp({ routes });
    await refused(await post(http, gzip("{}"), "gzip"), 415, "ERR_REQUEST_MEDIA_TYPE");
  });

  it("are read by gzip, br and zstd where the setting says so, and the handler sees no coding", async () => {
    await using http = await start();
    const coded = [
      ["gzip", gzip('{"a":1}')],
      ["x-gzip", gzip('{"a":1}')],
      [" GZIP ", gzip('{"a":1}')],
      ["br", bytes(zlib.brotliCompressSync('{"a":1}'))],
      ["zstd", bytes(zlib.zstdCompressSync('{"a":1}'))],
      ["identity", '{"a":1}'],
    ] as const;
    for (const [coding, body] of coded) {
      const told: unknown = await (await post(http, body, coding)).json();
      assert.partialDeepStrictEqual(told, { body: { a: 1 } }, coding);
    }
  });

  for (const coding of ["deflate", "gzip, gzip", "x-unknown", "gzip,br"]) {
    it(`are answered with 415 when coded by ${coding}`, async () => {
      await using http = await start();
      await refused(await post(http, gzip("{}"), coding), 415, "ERR_REQUEST_MEDIA_TYPE");
    });
  }

  it("are held to the limit of bodies by what they become, and nothing more of a bomb is inflated", async () => {
    await using http = await start({ maxInflateRatio: 1_000 });
    const bomb = gzip(Buffer.alloc(268_435_456, 32));
    handled = 0;
    const before = process.memoryUsage().arrayBuffers;
    await refused(await post(http, bomb, "gzip"), 413, "ERR_REQUEST_TOO_LARGE");
    assert.ok(process.memoryUsage().arrayBuffers - before < 67_108_864);
    assert.equal(handled, 0);
    assert.equal((await post(http, gzip("{}"), "gzip")).status, 200);
  });

  it("are held to a ratio, past what may come of however little", async () => {
    await using http = await start({ maxInflateRatio: 10 });
    const repeats = (length: number) => gzip(JSON.stringify("a".repeat(length)));
    assert.equal((await post(http, repeats(60_000), "gzip")).status, 200);
    await refused(await post(http, repeats(600_000), "gzip"), 413, "ERR_REQUEST_TOO_LARGE");
  });

  it("that are not what they say, end too early or are empty are answered with 400", async () => {
    await using http = await start();
    const whole = gzip(JSON.stringify("x".repeat(10_000)));
    for (const body of ["no gzip at all", whole.subarray(0, whole.length - 12)])
      await refused(await post(http, body, "gzip"), 400, "ERR_REQUEST_BODY");
    await refused(await post(http, gzip("{"), "gzip"), 400, "ERR_REQUEST_BODY");
    await refused(await post(http, gzip('{"__proto__":{}}'), "gzip"), 400, "ERR_REQUEST_BODY");
    assert.deepEqual(await http.reports(), []);
  });

  it("whose sender leaves half way leave nothing behind", async () => {
    await using http = await start();
    const connection = http.connect();
    connection.write(
      "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 1000\r\n\r\n",
    );
    connection.write(Buffer.from(gzip(JSON.stringify("y".repeat(10_000)))).subarray(0, 20));
    connection.socket.end();
    await connection.ended;
    await http.server.close();
    assert.deepEqual(await http.reports(), []);
  });

  it("of a bomb that is sent slowly end the connection with their answer", async () => {
    await using http = await start({ maxInflateRatio: 10 });
    const bomb = zlib.gzipSync(Buffer.alloc(4_194_304, 32));
    const reply = await http.raw(
      Buffer.concat([
        Buffer.from(
          `POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: ${bomb.length + 100}\r\n\r\n`,
        ),
        bomb,
      ]),
    );
    assert.equal(parseReply(reply).status, 413);
  });
});
