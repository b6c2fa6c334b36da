import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AppError, currentContext } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { RequestError } from "../errors.ts";
import { BadRequestSchema, ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { EchoService, SayRequestSchema, SayResponseSchema } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { echoHandlers, startGrpc } from "../testing/grpc.ts";
import { startHttp, type TestHttp, type TestHttpOptions } from "../testing/http.ts";
import { connectRoutes } from "./connect.ts";
import { type RpcHandlers, rpcService } from "./service.ts";

const say = `/${EchoService.typeName}/Say`;

function startConnect(
  handlers: Partial<RpcHandlers<typeof EchoService>> = {},
  options: TestHttpOptions = {},
): Promise<TestHttp> {
  return startHttp({ ...options, routes: connectRoutes([rpcService(EchoService, { ...echoHandlers, ...handlers })]) });
}

describe("a unary method over HTTP", () => {
  it("speaks JSON", async () => {
    await using http = await startConnect();
    const response = await post(http, json({ text: "hé", big: "4611686018427387904", data: "AP8=" }));
    assert.deepEqual([response.status, response.headers.get("content-type")], [200, "application/json"]);
    assert.deepEqual(await response.json(), { text: "hé", big: "4611686018427387904", data: "AP8=" });
    assert.match(response.headers.get("x-request-id") ?? "", /^[0-9a-f]{32}$/);
  });

  it("speaks binary", async () => {
    await using http = await startConnect();
    const body = toBinary(
      SayRequestSchema,
      create(SayRequestSchema, { text: "hé", big: 2n ** 62n, data: Uint8Array.of(0, 255) }),
    );
    const response = await post(http, { headers: { "content-type": "application/proto" }, body });
    assert.deepEqual([response.status, response.headers.get("content-type")], [200, "application/proto"]);
    const reply = fromBinary(SayResponseSchema, new Uint8Array(await response.arrayBuffer()));
    assert.deepEqual([reply.text, reply.big, [...reply.data]], ["hé", 2n ** 62n, [0, 255]]);
  });

  it("takes an empty binary body, and no body at all, for a message of defaults", async () => {
    await using http = await startConnect();
    for (const init of [{ headers: { "content-type": "application/proto" }, body: new Uint8Array() }, {}]) {
      const response = await post(http, init);
      assert.equal(response.status, 200);
      await response.arrayBuffer();
    }
  });

  it("ignores fields that the contract does not know", async () => {
    await using http = await startConnect();
    assert.deepEqual(await (await post(http, json({ text: "x", later: { a: [1] } }))).json(), { text: "x" });
  });

  it("gives its handler the context of the request, the same on every wire", async () => {
    let seen: unknown[] = [];
    await using http = await startConnect({
      say: (_request, call) => {
        seen = [call.requestId, call.signal.aborted, call.deadlineAtMs > 0, currentContext() === call];
        return {};
      },
    });
    await (
      await post(http, { ...json({}), headers: { "content-type": "application/json", "x-request-id": "request-1" } })
    ).text();
    assert.deepEqual(seen, ["request-1", false, true, true]);
    await until(() => http.lines.withMessage("request").length === 1);
    assert.equal(http.lines.withMessage("request")[0]?.route, say);
  });

  it("serves only the methods of the contract", async () => {
    await using http = await startConnect();
    for (const path of [`/${EchoService.typeName}/Nothing`, "/nowhere.Service/Say"]) {
      const response = await http.fetch(path, { method: "POST", ...json({}) });
      assert.deepEqual([response.status, (await bodyOf(response)).code], [404, "ERR_ROUTE_NOT_FOUND"]);
    }
  });
});

describe("an error of a method over HTTP", () => {
  it("tells status, text, code, metadata and whether to try again", async () => {
    const metadata = { limit: "50" };
    await using http = await startConnect({
      say: () =>
        fail(new AppError("ERR_NOTES_FULL", "resource_exhausted", "no more nötes", { metadata, retryable: true })),
    });
    const response = await post(http, json({}));
    assert.deepEqual([response.status, response.headers.get("content-type")], [429, "application/json"]);
    const { code, message, details } = await bodyOf(response);
    assert.deepEqual([code, message, details.length], ["resource_exhausted", "no more nötes", 1]);
    assert.equal(details[0].type, "google.rpc.ErrorInfo");
    assert.doesNotMatch(details[0].value, /=/);
    const info = fromBinary(ErrorInfoSchema, Buffer.from(details[0].value, "base64"));
    assert.deepEqual(
      [info.reason, info.domain, info.metadata],
      ["ERR_NOTES_FULL", "plinth", { limit: "50", "plinth.retryable": "true" }],
    );
    assert.deepEqual(await http.reports(), []);
  });

  it("tells each field that does not fit", async () => {
    const faults = [{ pointer: "/text", detail: "is empty" }];
    await using http = await startConnect({ say: () => fail(new RequestError(faults)) });
    const response = await post(http, json({}));
    const { code, details } = await bodyOf(response);
    assert.deepEqual([response.status, code, details[1].type], [400, "invalid_argument", "google.rpc.BadRequest"]);
    const [violation] = fromBinary(BadRequestSchema, Buffer.from(details[1].value, "base64")).fieldViolations;
    assert.deepEqual([violation?.field, violation?.description], ["/text", "is empty"]);
  });

  it("of the server leaves without its text and is reported once", async () => {
    for (const handler of [() => fail(new Error("hunter2")), () => fail("hunter2"), () => undefined as never]) {
      await using http = await startConnect({ say: handler });
      const response = await post(http, json({}));
      const text = await response.text();
      assert.deepEqual([response.status, JSON.parse(text).code], [500, "internal"]);
      assert.doesNotMatch(text, /hunter2/);
      assert.equal((await http.reports()).length, 1);
    }
  });

  const refused: readonly (readonly [name: string, init: RequestInit, status: number, code: string, reason: string])[] =
    [
      ["broken JSON", text("application/json", "{"), 400, "invalid_argument", "ERR_REQUEST_BODY"],
      ["an empty JSON body", text("application/json", ""), 400, "invalid_argument", "ERR_REQUEST_BODY"],
      ["null", text("application/json", "null"), 400, "invalid_argument", "ERR_REQUEST_BODY"],
      ["an array", text("application/json", "[]"), 400, "invalid_argument", "ERR_REQUEST_BODY"],
      ["a field of another type", json({ text: 5 }), 400, "invalid_argument", "ERR_REQUEST_BODY"],
      ["a number out of range", json({ big: "99999999999999999999" }), 400, "invalid_argument", "ERR_REQUEST_BODY"],
      ["bytes that are no message", text("application/proto", "\x0a\x7f"), 400, "invalid_argument", "ERR_REQUEST_BODY"],
      ["another media type", text("text/csv", "a,b"), 415, "invalid_argument", "ERR_REQUEST_MEDIA_TYPE"],
      [
        "the streaming protocol",
        text("application/connect+json", "x"),
        415,
        "invalid_argument",
        "ERR_REQUEST_MEDIA_TYPE",
      ],
      ["too large a body", json({ text: "x".repeat(2_000) }), 413, "resource_exhausted", "ERR_REQUEST_TOO_LARGE"],
      ["another version", withHeader("connect-protocol-version", "2"), 400, "invalid_argument", "ERR_REQUEST_REFUSED"],
      ["an unknown encoding", withHeader("content-encoding", "br"), 501, "unimplemented", "ERR_RPC_UNIMPLEMENTED"],
    ];
  for (const [name, init, status, code, reason] of refused) {
    it(`answers ${name} with ${status} ${code}, in the form of the protocol`, async () => {
      await using http = await startConnect({}, { settings: { maxBodyBytes: 1_000 } });
      const response = await post(http, init);
      const body = await bodyOf(response);
      assert.deepEqual([response.status, body.code], [status, code], JSON.stringify(body));
      const info = fromBinary(ErrorInfoSchema, Buffer.from(body.details[0].value, "base64"));
      assert.equal(info.reason, reason);
      assert.deepEqual(await http.reports(), []);
    });
  }

  it("does not come from what the protocol allows", async () => {
    await using http = await startConnect();
    for (const init of [withHeader("connect-protocol-version", "1"), withHeader("content-encoding", "identity")])
      assert.equal((await post(http, init)).status, 200);
  });
});

describe("the deadline of a method over HTTP", () => {
  for (const [header, given, ms] of [
    ["connect-timeout-ms", "200", 200],
    ["connect-timeout-ms", "9999999999", 1_000],
    ["connect-timeout-ms", "1s", 1_000],
    ["plinth-timeout-ms", "300", 300],
  ] as const) {
    it(`is ${ms} ms when ${header} says ${given} and the server allows 1000`, async () => {
      const clock = new FakeClock();
      const reached = Promise.withResolvers<AbortSignal>();
      await using http = await startConnect(
        {
          say: (_request, { signal }) => {
            reached.resolve(signal);
            return new Promise(() => {});
          },
        },
        { clock, settings: { deadlineMs: 1_000 } },
      );
      const reply = post(http, withHeader(header, given));
      const signal = await reached.promise;
      await clock.advance(ms - 1);
      assert.equal(signal.aborted, false);
      await clock.advance(1);
      const response = await reply;
      assert.deepEqual([response.status, (await bodyOf(response)).code], [504, "deadline_exceeded"]);
      assert.equal(signal.reason.code, "ERR_DEADLINE_EXCEEDED");
    });
  }
});

describe("a foreign client", () => {
  const buf = join(import.meta.dirname, "../../../../node_modules/.bin/buf");
  const proto = join(import.meta.dirname, "../../proto");
  const run = promisify(execFile);

  /** Calls with `buf curl`; its caches go to a folder of their own. */
  async function curl(
    protocol: string,
    url: string,
    data: unknown,
    ...flags: string[]
  ): Promise<{ stdout: string; stderr: string; code: number }> {
    const home = await mkdtemp(join(tmpdir(), "plinth-buf-"));
    const args = ["curl", "--schema", proto, "--protocol", protocol, ...flags, "--data", JSON.stringify(data), url];
    try {
      return { ...(await run(buf, args, { env: { ...process.env, HOME: home, XDG_CACHE_HOME: home } })), code: 0 };
    } catch (error) {
      return error as { stdout: string; stderr: string; code: number };
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  }

  it("speaks the Connect protocol with the HTTP server", async () => {
    await using http = await startConnect({ say: sayOrFail });
    const { stdout, stderr, code } = await curl("connect", `${http.origin}${say}`, { text: "hé", big: "5" });
    assert.deepEqual([code, JSON.parse(stdout || "null")], [0, { text: "hé", big: "5" }], stderr);
    const failed = await curl("connect", `${http.origin}${say}`, { text: "fail" });
    assert.notEqual(failed.code, 0);
    const error = JSON.parse(failed.stderr);
    assert.deepEqual([error.code, error.message], ["not_found", "no such note"]);
    assert.equal(error.details[0].type, "google.rpc.ErrorInfo");
  });

  it("reads streams of the HTTP server, and their errors", async () => {
    await using http = await startConnect({
      async *count({ to }) {
        for (let number = 1; number <= to; number++) yield { number };
        if (to === 2) throw new AppError("ERR_NOTE_GONE", "not_found", "no such note");
      },
    });
    const url = `${http.origin}/${EchoService.typeName}/Count`;
    const { stdout, stderr, code } = await curl("connect", url, { to: 3 });
    assert.deepEqual([code, stdout.match(/\d/g)], [0, ["1", "2", "3"]], stderr);
    const failed = await curl("connect", url, { to: 2 });
    assert.deepEqual([JSON.parse(failed.stderr).code, failed.stdout.match(/\d/g)], ["not_found", ["1", "2"]]);
  });

  it("speaks gRPC with the gRPC server, and hears of the same error", async () => {
    await using grpc = await startGrpc({ handlers: { say: sayOrFail } });
    const url = `http://127.0.0.1:${grpc.server.port}${say}`;
    const { stdout, stderr, code } = await curl("grpc", url, { text: "hé", big: "5" }, "--http2-prior-knowledge");
    assert.deepEqual([code, JSON.parse(stdout || "null")], [0, { text: "hé", big: "5" }], stderr);
    const failed = await curl("grpc", url, { text: "fail" }, "--http2-prior-knowledge");
    const error = JSON.parse(failed.stderr);
    assert.deepEqual(
      [error.code, error.message, error.details[0].type],
      ["not_found", "no such note", "google.rpc.ErrorInfo"],
    );
  });
});

const sayOrFail: RpcHandlers<typeof EchoService>["say"] = ({ text, big }) =>
  text === "fail" ? fail(new AppError("ERR_NOTE_GONE", "not_found", "no such note")) : { text, big };

function fail(thrown: unknown): never {
  throw thrown;
}

function post(http: TestHttp, init: RequestInit): Promise<Response> {
  return http.fetch(say, { method: "POST", ...init });
}

function json(body: unknown): RequestInit {
  return { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}

/** Bytes, so that fetch adds no media type of its own. */
function text(type: string, body: string): RequestInit {
  return { headers: { "content-type": type }, body: Buffer.from(body, "latin1") };
}

function withHeader(name: string, value: string): RequestInit {
  return { headers: { "content-type": "application/json", [name]: value }, body: "{}" };
}

async function bodyOf(response: Response) {
  return JSON.parse(await response.text());
}
