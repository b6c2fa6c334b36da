import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { Metadata } from "@grpc/grpc-js";
import { AppError } from "@plinth/kernel";
import { ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { startGrpc, type TestGrpc, type TestGrpcOptions } from "../testing/grpc.ts";

const root = join(import.meta.dirname, "../../../..");
const bytes = Buffer.from([0, 255, 7]);

/** Tells back in its metadata what it was sent in that of the caller. */
const mirroring: NonNullable<TestGrpcOptions["handlers"]> = {
  say: ({ text }, call) => {
    call.setReplyHeader("x-head", call.header("x-text") ?? "");
    call.setReplyHeader("x-head-bin", call.header("x-data-bin") ?? "");
    call.setReplyTrailer("x-tail", "end");
    call.setReplyTrailer("x-tail-bin", bytes.toString("base64"));
    return { text };
  },
};

const failing: NonNullable<TestGrpcOptions["handlers"]> = {
  say: () => {
    throw new AppError("ERR_FULL", "resource_exhausted", "no more", { metadata: { limit: "5" }, retryable: true });
  },
};

/** What handlers are told by the aborts of their signals. */
function waiting(told: string[]): NonNullable<TestGrpcOptions["handlers"]> {
  const wait = (signal: AbortSignal): Promise<never> =>
    new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => {
        told.push(signal.reason.code);
        reject(new Error("stopped"));
      });
    });
  return {
    say: (_request, { signal }) => wait(signal),
    async *count(_request, { signal }) {
      yield { number: 1 };
      await wait(signal);
    },
    collect: (_requests, { signal }) => wait(signal),
    async *chat(_requests, { signal }) {
      yield { text: "a" };
      await wait(signal);
    },
  };
}

const connectClient = (grpc: TestGrpc) =>
  createClient(EchoService, createGrpcTransport({ baseUrl: `http://127.0.0.1:${grpc.server.port}` }));

async function* texts(): AsyncGenerator<{ text: string }> {
  yield { text: "a" };
  yield { text: "b" };
}

async function* oneAndNoMore(): AsyncGenerator<{ text: string }> {
  yield { text: "a" };
  await new Promise(() => {});
}

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

describe("connect-node's client, over gRPC", () => {
  it("calls all four kinds of methods", async () => {
    await using grpc = await startGrpc();
    const client = connectClient(grpc);
    assert.equal((await client.say({ text: "x" })).text, "x");
    assert.deepEqual(
      (await all(client.count({ to: 3 }))).map(({ number }) => number),
      [1, 2, 3],
    );
    assert.equal((await client.collect(texts())).text, "a b");
    assert.deepEqual(
      (await all(client.chat(texts()))).map(({ text }) => text),
      ["you said a", "you said b"],
    );
  });

  it("exchanges metadata both ways, binary too", async () => {
    await using grpc = await startGrpc({ handlers: mirroring });
    const seen: Record<string, string | null> = {};
    await connectClient(grpc).say(
      { text: "x" },
      {
        headers: { "x-text": "hello", "x-data-bin": bytes.toString("base64") },
        onHeader: (headers) => {
          seen["x-head"] = headers.get("x-head");
          seen["x-head-bin"] = headers.get("x-head-bin");
        },
        onTrailer: (trailers) => {
          seen["x-tail"] = trailers.get("x-tail");
          seen["x-tail-bin"] = trailers.get("x-tail-bin");
        },
      },
    );
    const base64 = bytes.toString("base64");
    assert.deepEqual(seen, { "x-head": "hello", "x-head-bin": base64, "x-tail": "end", "x-tail-bin": base64 });
  });

  it("reads the details of an error", async () => {
    await using grpc = await startGrpc({ handlers: failing });
    const error = await connectClient(grpc)
      .say({})
      .then(
        () => assert.fail("it succeeded"),
        (thrown: unknown) => ConnectError.from(thrown),
      );
    assert.deepEqual([error.code, error.rawMessage], [Code.ResourceExhausted, "no more"]);
    const [info] = error.findDetails(ErrorInfoSchema);
    assert.deepEqual([info?.reason, info?.metadata], ["ERR_FULL", { limit: "5", "plinth.retryable": "true" }]);
  });

  it("has its deadline held and its cancel heard, by all four kinds", async () => {
    for (const how of ["deadline", "cancel"] as const) {
      const told: string[] = [];
      await using grpc = await startGrpc({ handlers: waiting(told) });
      const client = connectClient(grpc);
      const started = (): { timeoutMs: number } | { signal: AbortSignal } =>
        how === "deadline" ? { timeoutMs: 100 } : { signal: AbortSignal.timeout(100) };
      const calls = [
        client.say({}, started()),
        all(client.count({}, started())),
        client.collect(oneAndNoMore(), started()),
        all(client.chat(oneAndNoMore(), started())),
      ];
      const codes = (await Promise.allSettled(calls)).map((result) =>
        result.status === "rejected" ? ConnectError.from(result.reason).code : undefined,
      );
      assert.deepEqual(codes, Array(4).fill(how === "deadline" ? Code.DeadlineExceeded : codes[0]), how);
      while (told.length < 4) await new Promise(setImmediate);
      for (const code of told)
        assert.match(code, how === "cancel" ? /^ERR_CANCELLED$/ : /^ERR_(CANCELLED|DEADLINE_EXCEEDED)$/);
      assert.deepEqual(await grpc.reports(), []);
    }
  });
});

describe("a plain grpc-js client", () => {
  it("exchanges metadata both ways, binary too", async () => {
    await using grpc = await startGrpc({ handlers: mirroring });
    const { call, reply } = grpc.client.unary(
      EchoService.method.say,
      { text: "x" },
      { metadata: { "x-text": ["one", "two"] } },
    );
    const head: Promise<Metadata[]> = once(call, "metadata");
    const tail: Promise<{ metadata: Metadata }[]> = once(call, "status");
    await reply;
    assert.deepEqual((await head)[0]?.get("x-head"), ["one, two"]);
    const [status] = await tail;
    assert.deepEqual([status?.metadata.get("x-tail"), status?.metadata.get("x-tail-bin")], [["end"], [bytes]]);
  });
});

describe("buf curl", () => {
  const buf = async (grpc: TestGrpc, path: string, ...args: string[]): Promise<{ stdout: string; stderr: string }> =>
    promisify(execFile)(
      join(root, "node_modules/.bin/buf"),
      ["curl", "--http2-prior-knowledge", ...args, `http://127.0.0.1:${grpc.server.port}${path}`],
      { cwd: root, timeout: 60_000 },
    ).catch((error: unknown) => {
      if (error instanceof Error && "stdout" in error && "stderr" in error)
        return { stdout: String(error.stdout), stderr: String(error.stderr) };
      throw error;
    });

  it("lists the services by reflection, in both versions", async () => {
    await using grpc = await startGrpc({ settings: { reflection: true } });
    for (const version of ["grpc-v1", "grpc-v1alpha"]) {
      const { stdout, stderr } = await buf(
        grpc,
        "",
        "--list-services",
        "--protocol",
        "grpc",
        "--reflect-protocol",
        version,
      );
      assert.deepEqual([stdout.split("\n").includes(EchoService.typeName), stderr], [true, ""]);
    }
  });

  it("calls all four kinds of methods by reflection alone", async () => {
    await using grpc = await startGrpc({ settings: { reflection: true } });
    const call = async (method: string, ...data: object[]): Promise<unknown[]> => {
      const body = data.map((message) => JSON.stringify(message)).join("\n");
      const path = `/${EchoService.typeName}/${method}`;
      const { stdout, stderr } = await buf(grpc, path, "--protocol", "grpc", "--reflect", "--data", body);
      assert.equal(stderr, "");
      return stdout
        .trim()
        .split(/\n(?=\{)/)
        .map((text): unknown => JSON.parse(text));
    };
    assert.deepEqual(await call("Say", { text: "x" }), [{ text: "x" }]);
    assert.deepEqual(await call("Count", { to: 2 }), [{ number: 1 }, { number: 2 }]);
    assert.deepEqual(await call("Collect", { text: "a" }, { text: "b" }), [{ text: "a b" }]);
    assert.deepEqual(await call("Chat", { text: "a" }, { text: "b" }), [
      { text: "you said a" },
      { text: "you said b" },
    ]);
  });

  it("shows the details of an error", async () => {
    await using grpc = await startGrpc({ settings: { reflection: true }, handlers: failing });
    const { stderr } = await buf(grpc, `/${EchoService.typeName}/Say`, "--protocol", "grpc", "--data", "{}");
    assert.match(stderr, /"code": "resource_exhausted"/);
    assert.match(stderr, /"message": "no more"/);
  });
});
