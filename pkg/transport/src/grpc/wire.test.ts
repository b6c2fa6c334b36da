import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from "node:http2";
import { describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import { until } from "@plinth/kernel/testing";
import { ChatRequestSchema, EchoService, SayRequestSchema } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { startGrpc, type TestGrpc } from "../testing/grpc.ts";
import { type Fields, http2Errors, RawHttp2 } from "../testing/http2-frames.ts";
import { framed } from "./messages.ts";

const say = (text: string): Buffer => framed(toBinary(SayRequestSchema, create(SayRequestSchema, { text })));
const chat = (text: string): Buffer => framed(toBinary(ChatRequestSchema, create(ChatRequestSchema, { text })));

/** The same message, compressed. */
function zipped(frame: Buffer): Buffer {
  const bytes = framed(gzipSync(frame.subarray(5)));
  bytes[0] = 1;
  return bytes;
}

function headOf(method: string): OutgoingHttpHeaders {
  return {
    ":method": "POST",
    ":path": `/${EchoService.typeName}/${method}`,
    "content-type": "application/grpc",
    te: "trailers",
  };
}

function fieldsOf(method: string): Fields {
  return [
    [":method", "POST"],
    [":scheme", "http"],
    [":authority", "localhost"],
    [":path", `/${EchoService.typeName}/${method}`],
    ["content-type", "application/grpc"],
  ];
}

interface Answer {
  readonly http: unknown;
  readonly code: unknown;
  readonly message: unknown;
  readonly body: string;
}

/** Sends a call by hand, in these pieces. */
async function call(grpc: TestGrpc, headers: OutgoingHttpHeaders, pieces: readonly Buffer[]): Promise<Answer> {
  const session: ClientHttp2Session = connect(`http://127.0.0.1:${grpc.server.port}`);
  try {
    const stream = session.request(headers);
    let [head, trailers, body]: [NodeJS.Dict<unknown>, NodeJS.Dict<unknown>, string] = [{}, {}, ""];
    stream.on("response", (given) => (head = given));
    stream.on("trailers", (given) => (trailers = given));
    stream.on("data", (chunk: Buffer) => (body += chunk.toString("latin1")));
    for (const piece of pieces) stream.write(piece);
    stream.end();
    await once(stream, "close");
    const code = trailers["grpc-status"] ?? head["grpc-status"];
    return { http: head[":status"], code, message: trailers["grpc-message"] ?? head["grpc-message"], body };
  } finally {
    session.destroy();
  }
}

describe("a call on the wire", () => {
  it("may be compressed, all of it or some messages", async () => {
    await using grpc = await startGrpc();
    const gzip = { "grpc-encoding": "gzip" };
    const one = await call(grpc, { ...headOf("Say"), ...gzip }, [zipped(say("hello"))]);
    assert.deepEqual([one.code, one.body.includes("hello")], [String(status.OK), true]);
    const pieces = [zipped(chat("a")), chat("b"), zipped(chat("c")), chat("d")];
    const many = await call(grpc, { ...headOf("Chat"), ...gzip }, [Buffer.concat(pieces)]);
    assert.deepEqual(many.body.match(/you said ./g), ["you said a", "you said b", "you said c", "you said d"]);
  });

  for (const [what, encoding, piece, code] of [
    ["in a way that nobody knows", "br", zipped(say("x")), status.UNIMPLEMENTED],
    ["without saying how", undefined, zipped(say("x")), status.UNIMPLEMENTED],
    ["to hide how large it is", "gzip", zipped(say("x".repeat(100_000))), status.RESOURCE_EXHAUSTED],
    ["and is not", "gzip", Buffer.from([1, ...say("x").subarray(1)]), status.INVALID_ARGUMENT],
  ] as const) {
    it(`is refused when it is compressed ${what}, which is logged and nobody's report`, async () => {
      await using grpc = await startGrpc({ settings: { maxMessageBytes: 50_000 } });
      for (const method of ["Say", "Chat"]) {
        const headers = { ...headOf(method), ...(encoding === undefined ? {} : { "grpc-encoding": encoding }) };
        assert.equal((await call(grpc, headers, [piece])).code, String(code), method);
      }
      await until(() => grpc.lines.withMessage("call").length === 2);
      assert.deepEqual(await grpc.reports(), []);
    });
  }

  it("that ends in the middle of a message is refused, whoever reads it", async () => {
    const seen: string[] = [];
    await using grpc = await startGrpc({
      handlers: {
        collect: async (requests) => {
          for await (const { text } of requests) seen.push(text);
          seen.push("whole");
          return {};
        },
      },
    });
    const half = say("abcdef").subarray(0, 8);
    for (const method of ["Say", "Collect"]) {
      const answer = await call(grpc, headOf(method), [say("first"), half]);
      assert.deepEqual(
        [answer.code, answer.message],
        [String(status.INVALID_ARGUMENT), "the%20last%20message%20ends%20half%20way"],
      );
    }
    assert.deepEqual(seen, ["first"]);
  });

  for (const given of ["", "10", "S", "1x", "123456789S", "-1S", "1 S", "1S, 2S"]) {
    it(`is refused when its grpc-timeout is ${JSON.stringify(given)}`, async () => {
      await using grpc = await startGrpc();
      const answer = await call(grpc, { ...headOf("Say"), "grpc-timeout": given }, [say("x")]);
      assert.equal(answer.code, String(status.INVALID_ARGUMENT));
    });
  }

  it("takes every unit of grpc-timeout", async () => {
    await using grpc = await startGrpc();
    for (const given of ["1H", "1M", "99999999S", "60000m", "60000000u"])
      assert.equal((await call(grpc, { ...headOf("Say"), "grpc-timeout": given }, [say("x")])).code, "0", given);
  });

  it("cannot be given headers and trailers that are not metadata: its handler is told, and the server lives", async () => {
    const names = [":status", "connection", "Transfer-Encoding", "te", "grpc-status"];
    const told: string[] = [];
    await using grpc = await startGrpc({
      handlers: {
        say: ({ text }, exchange) => {
          for (const name of names) {
            assert.throws(() => exchange.setReplyTrailer(name, "1"), /belongs to HTTP\/2 or gRPC/);
            assert.throws(() => exchange.setReplyHeader(name, "1"), /belongs to HTTP\/2 or gRPC/);
            told.push(name);
          }
          return { text };
        },
      },
    });
    assert.equal((await grpc.client.say({ text: "x" })).text, "x");
    assert.deepEqual(told, names);
  });

  it("of another media type is told so over HTTP", async () => {
    await using grpc = await startGrpc();
    for (const type of ["text/html", undefined]) {
      const { "content-type": _type, ...rest } = headOf("Say");
      const answer = await call(grpc, type === undefined ? rest : { ...rest, "content-type": type }, [say("x")]);
      assert.deepEqual([answer.http, answer.code], [415, undefined]);
    }
    const proto = await call(grpc, { ...headOf("Say"), "content-type": "application/grpc+proto" }, [say("x")]);
    assert.equal(proto.code, "0");
  });

  it("whose only message comes before a reset without an error is not handled", async () => {
    await using grpc = await startGrpc({ handlers: { say: () => assert.fail("nobody waits for this") } });
    const raw = new RawHttp2(grpc.server.port);
    raw.head(1, fieldsOf("Say"), { end: false });
    raw.data(1, say("x").toString("latin1"), false);
    raw.reset(1, http2Errors.none);
    await until(() => grpc.lines.withMessage("call").length === 1);
    assert.equal(grpc.lines.withMessage("call")[0]?.status, "cancelled");
    raw.destroy();
  });

  it("whose caller resets it without an error is no whole upload", async () => {
    const seen: string[] = [];
    const heard = Promise.withResolvers<unknown>();
    await using grpc = await startGrpc({
      handlers: {
        collect: async (requests, { signal }) => {
          signal.addEventListener("abort", () => heard.resolve(signal.reason));
          for await (const { text } of requests) seen.push(text);
          seen.push("whole");
          return {};
        },
      },
    });
    const raw = new RawHttp2(grpc.server.port);
    raw.head(1, fieldsOf("Collect"), { end: false });
    raw.data(1, say("part").toString("latin1"), false);
    await until(() => seen.length === 1);
    raw.reset(1, http2Errors.none);
    assert.match(String(await heard.promise), /the caller has gone/);
    await until(() => grpc.lines.withMessage("call").length === 1);
    assert.deepEqual([seen, grpc.lines.withMessage("call")[0]?.status], [["part"], "cancelled"]);
    raw.destroy();
  });
});
