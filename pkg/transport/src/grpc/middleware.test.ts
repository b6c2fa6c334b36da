import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Metadata, status } from "@grpc/grpc-js";
import { AppError, currentContext } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import type { Identity } from "../auth.ts";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { layers, type Middleware } from "../middleware.ts";
import { startGrpc, type TestGrpc } from "../testing/grpc.ts";
import { failureOf } from "../testing/grpc-client.ts";

const refused = new AppError("ERR_REFUSED", "permission_denied", "not today");
const refuser = (place: Partial<Middleware>): Middleware => ({
  name: "refuser",
  ...place,
  handle: () => Promise.reject(refused),
});

const kinds = {
  say: (grpc: TestGrpc) => grpc.client.say({ text: "x" }),
  count: (grpc: TestGrpc) => grpc.client.count({ to: 2 }).toArray(),
  collect: (grpc: TestGrpc) => {
    const { call, reply } = grpc.client.collect();
    call.end({ text: "x" });
    return reply;
  },
  chat: (grpc: TestGrpc) => {
    const chat = grpc.client.chat();
    chat.end({ text: "x" });
    return chat.toArray();
  },
} as const;

describe("middlewares around gRPC calls", () => {
  it("run in the order of all wires, and hear how each call ended", async () => {
    const told: string[] = [];
    const telling = (name: string, place: Partial<Middleware>): Middleware => ({
      name,
      ...place,
      handle: async (request, next) => {
        told.push(`> ${name} ${request.route.split("/")[1]}`);
        const { error } = await next();
        told.push(`< ${name} ${error?.code ?? "ok"}`);
      },
    });
    const given = [
      telling("inner", {}),
      telling("outer", { before: "recovery" }),
      telling("mid", { after: "deadline" }),
    ];
    for (const kind of ["say", "count", "collect", "chat"] as const) {
      await using grpc = await startGrpc({ middlewares: given });
      told.length = 0;
      await kinds[kind](grpc);
      await until(() => told.length === 6);
      const name = `${kind.slice(0, 1).toUpperCase()}${kind.slice(1)}`;
      assert.deepEqual(told.slice(0, 3), [`> outer ${name}`, `> mid ${name}`, `> inner ${name}`]);
      assert.deepEqual(told.slice(3).toSorted(), ["< inner ok", "< mid ok", "< outer ok"]);
    }
  });

  for (const layer of layers) {
    it(`refuse before the handler is reached, right outside of ${layer}`, async () => {
      let reached = 0;
      await using grpc = await startGrpc({
        middlewares: [refuser({ before: layer })],
        handlers: {
          say: () => {
            reached++;
            return {};
          },
        },
      });
      const failure = await failureOf(grpc.client.say({}));
      assert.deepEqual([failure.code, failure.info?.reason], [status.PERMISSION_DENIED, "ERR_REFUSED"]);
      assert.equal(reached, 0);
      // what stands further in has not seen it
      const isCounted = /call_duration_seconds_count\{.*permission_denied/.test((await grpc.metrics.expose()).body);
      const place = layers.indexOf(layer);
      assert.equal(isCounted, place > layers.indexOf("metrics"));
      await until(() => grpc.lines.withMessage("call").length === (place > layers.indexOf("access-log") ? 1 : 0));
      assert.match((await grpc.metrics.expose()).body, /^grpc_server_active_calls 0$/m);
    });
  }

  it("that fail otherwise are reported once, and their text stays here", async () => {
    const broken: Middleware = { name: "broken", handle: () => Promise.reject(new Error("hunter2")) };
    await using grpc = await startGrpc({ middlewares: [broken] });
    const failure = await failureOf(grpc.client.say({}));
    assert.equal(failure.code, status.INTERNAL);
    assert.doesNotMatch(JSON.stringify(failure), /hunter2/);
    assert.equal((await grpc.reports()).length, 1);
  });

  it("that throw too late change nothing, and are reported", async () => {
    const late: Middleware = {
      name: "late",
      handle: async (_request, next) => {
        await next();
        throw new Error("too late");
      },
    };
    await using grpc = await startGrpc({ middlewares: [late] });
    assert.equal((await grpc.client.say({ text: "x" })).text, "x");
    await until(() => grpc.errors.stats().reported === 1);
  });

  it("put metadata ahead of replies and of errors, binary too, and refuse what comes too late", async () => {
    let after: unknown;
    const marking: Middleware = {
      name: "marking",
      handle: async (request, next) => {
        request.setReplyHeader("x-mark", "m");
        request.setReplyHeader("x-mark-bin", Buffer.from([0, 255]).toString("base64"));
        await next();
        try {
          request.setReplyHeader("x-late", "l");
        } catch (error) {
          after = error;
        }
      },
    };
    await using grpc = await startGrpc({
      middlewares: [marking],
      handlers: { collect: () => Promise.reject(refused) },
    });
    const { call, reply } = grpc.client.unary(EchoService.method.say, { text: "x" });
    const metadata = new Promise<Metadata>((resolve) => call.once("metadata", resolve));
    await reply;
    const head = await metadata;
    assert.deepEqual([head.get("x-mark"), head.get("x-mark-bin")], [["m"], [Buffer.from([0, 255])]]);
    await until(() => after !== undefined);
    assert.equal(AppError.is(after) && after.code, "ERR_REPLY_BEGUN");
    const failing = grpc.client.collect();
    const failedHead = new Promise<Metadata>((resolve) => failing.call.once("metadata", resolve));
    failing.call.end();
    assert.equal((await failureOf(failing.reply)).code, status.PERMISSION_DENIED);
    assert.deepEqual((await failedHead).get("x-mark"), ["m"]);
  });

  it("keep the call's context, whatever they wait for", async () => {
    const waiting: Middleware = {
      name: "waiting",
      before: "trace",
      handle: async (_request, next) => {
        assert.equal(currentContext(), undefined); // outside of the log context
        await new Promise(setImmediate);
        await next();
      },
    };
    await using grpc = await startGrpc({
      middlewares: [waiting],
      handlers: { say: (_request, call) => ({ text: String(currentContext() === call) }) },
    });
    assert.equal((await grpc.client.say({})).text, "true");
  });
});

describe("the auth layer of a gRPC server", () => {
  const someone: Identity = { subject: "someone", scopes: [], claims: {} };

  it("tells handlers who asks, and refuses who does not say", async () => {
    await using grpc = await startGrpc({
      authenticator: {
        authenticate: async (request) => (request.header("authorization") === undefined ? undefined : someone),
      },
      handlers: { say: (_request, { identity }) => ({ text: identity?.subject ?? "nobody" }) },
    });
    assert.equal((await grpc.client.say({}, { metadata: { authorization: "Bearer x" } })).text, "someone");
    const failure = await failureOf(grpc.client.say({}));
    assert.deepEqual([failure.code, failure.info?.reason], [status.UNAUTHENTICATED, "ERR_UNAUTHENTICATED"]);
  });

  it("lets in who does not say, where that is optional, and asks no probe", async () => {
    await using grpc = await startGrpc({
      settings: { auth: "optional" },
      authenticator: { authenticate: () => undefined },
      handlers: { say: (_request, { identity }) => ({ text: identity?.subject ?? "nobody" }) },
    });
    assert.equal((await grpc.client.say({})).text, "nobody");
    await using strict = await startGrpc({ authenticator: { authenticate: () => undefined } });
    await strict.client.raw("/grpc.health.v1.Health/Check", new Uint8Array());
  });
});
