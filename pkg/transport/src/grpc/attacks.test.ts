import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { until } from "@plinth/kernel/testing";
import { CountRequestSchema, EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { startGrpc, type TestGrpc, type TestGrpcOptions } from "../testing/grpc.ts";
import {
  fieldBlock,
  floods,
  type Fields,
  frameOf,
  frameTypes,
  http2Errors,
  RawHttp2,
  uint32,
} from "../testing/http2-frames.ts";
import { framed } from "./messages.ts";

const headOf = (method: string, ...more: Fields): Fields => [
  [":method", "POST"],
  [":scheme", "http"],
  [":authority", "localhost"],
  [":path", `/${EchoService.typeName}/${method}`],
  ["content-type", "application/grpc"],
  ...more,
];
const count = framed(toBinary(CountRequestSchema, create(CountRequestSchema, { to: 64, padding: 100 }))).toString(
  "latin1",
);
const empty = framed(Buffer.alloc(0)).toString("latin1");

/** Calls under way, and what their handlers have been told. */
interface Work {
  begun: number;
  cancelled: number;
}

function startHanging(work: Work, settings: TestGrpcOptions["settings"] = {}): Promise<TestGrpc> {
  return startGrpc({
    settings,
    handlers: {
      collect: async (_requests, { signal }) => {
        work.begun++;
        signal.addEventListener("abort", () => work.cancelled++);
        return new Promise(() => {});
      },
    },
  });
}

async function metric(grpc: TestGrpc, name: string): Promise<number | undefined> {
  const { body } = await grpc.metrics.expose();
  const line = body.split("\n").find((text) => text.startsWith(name));
  return line === undefined ? undefined : Number(line.split(" ").at(-1));
}

interface Attack {
  readonly what: string;
  readonly send: (caller: RawHttp2) => void;
  readonly stream?: number;
  readonly answer: RegExp;
}

const ended = /^(goaway \d+|closed)$/;

const attacks: readonly Attack[] = [
  {
    what: "calls reset with their heads (rapid reset)",
    send(caller) {
      const frames: Buffer[] = [];
      for (let stream = 1; stream < 20_000; stream += 2) {
        frames.push(frameOf("headers", 4, stream, fieldBlock(headOf("Collect"))));
        frames.push(frameOf("reset", 0, stream, uint32(http2Errors.cancel)));
      }
      caller.socket.write(Buffer.concat(frames));
    },
    stream: 99_999,
    answer: ended,
  },
  {
    what: "calls that it makes the server reset, by bad windows (made you reset)",
    send(caller) {
      const frames: Buffer[] = [];
      for (let stream = 1; stream < 4_000; stream += 2) {
        frames.push(frameOf("headers", 4, stream, fieldBlock(headOf("Collect"))));
        frames.push(frameOf("windowUpdate", 0, stream, uint32(0)));
      }
      caller.socket.write(Buffer.concat(frames));
    },
    stream: 99_999,
    answer: ended,
  },
  {
    what: "CONTINUATION without end",
    send(caller) {
      caller.head(1, headOf("Collect"), { whole: false });
      for (let at = 0; at < 2_000; at++) caller.send("continuation", 0, 1, fieldBlock([[`x-${at}`, "y".repeat(100)]]));
    },
    answer: ended,
  },
  {
    what: "empty CONTINUATION without end",
    send(caller) {
      caller.head(1, headOf("Collect"), { whole: false });
      for (let at = 0; at < 2_000; at++) caller.send("continuation", 0, 1);
    },
    answer: ended,
  },
  { ...floods.pings, answer: ended },
  { ...floods.settings, answer: /^goaway 11$/ },
  { ...floods.entries, answer: ended },
  {
    what: "headers of a megabyte",
    send(caller) {
      caller.head(1, headOf("Say"), { whole: false });
      for (let at = 0; at < 100; at++)
        caller.send("continuation", at === 99 ? 4 : 0, 1, fieldBlock([[`x-${at}`, "y".repeat(10_000)]]));
    },
    answer: /^(431|reset (1|7|11)|goaway \d+|closed)$/,
  },
  {
    what: "thousands of tiny headers",
    send: (caller) => caller.head(1, headOf("Say", ...Array.from({ length: 2_500 }, () => ["a", ""] as const))),
    answer: /^(431|reset (1|7|11)|goaway \d+|closed)$/,
  },
  {
    what: "empty DATA without end",
    send(caller) {
      caller.head(1, headOf("Collect"), { end: false });
      for (let at = 0; at < 2_000; at++) caller.send("data", 0, 1);
    },
    answer: ended,
  },
  {
    what: "a window of the connection past 2^31-1",
    send(caller) {
      caller.window(0, 0x7f_ff_ff_ff);
      caller.window(0, 0x7f_ff_ff_ff);
    },
    answer: /^(goaway 3|closed)$/,
  },
  { what: "DATA on a stream that never was", send: (caller) => caller.data(1, "x"), answer: /^goaway (1|5)$/ },
];

describe("what attacks a gRPC server", () => {
  for (const { what, send, answer, stream = 1 } of attacks) {
    it(`${what}: answered, nothing goes on for it, and others are served`, async () => {
      const work: Work = { begun: 0, cancelled: 0 };
      await using grpc = await startHanging(work);
      const caller = new RawHttp2(grpc.server.port);
      send(caller);
      assert.match(await caller.answer(stream), answer);
      assert.equal((await grpc.client.say({ text: "other" })).text, "other");
      caller.destroy();
      await until(() => work.begun === work.cancelled);
      assert.equal(await metric(grpc, "grpc_server_active_calls "), 0);
    });
  }

  it("a window held shut: its call is ended when it has stood still for long enough, and others are served", async () => {
    await using grpc = await startGrpc({ settings: { idleTimeoutMs: 40 } });
    const caller = new RawHttp2(grpc.server.port, { 4: 0 }); // no window
    caller.head(1, headOf("Count"), { end: false });
    caller.data(1, count);
    const reset = await caller.until(({ type, stream }) => type === frameTypes.reset && stream === 1);
    assert.equal(reset?.payload.readUInt32BE(0), http2Errors.cancel);
    assert.equal((await grpc.client.say({ text: "other" })).text, "other");
    await until(() => grpc.lines.withMessage("call").some(({ code }) => code === "ERR_STREAM_IDLE"));
    caller.destroy();
  });
});

describe("the budget of resets of a gRPC connection", () => {
  it("ends the connection with ENHANCE_YOUR_CALM, and cancels all its work", async () => {
    const work: Work = { begun: 0, cancelled: 0 };
    await using grpc = await startHanging(work);
    const caller = new RawHttp2(grpc.server.port);
    caller.head(1, headOf("Collect"), { end: false }); // stays under way until the connection ends
    for (let stream = 3; stream < 600 && !caller.socket.destroyed; stream += 2) {
      caller.head(stream, headOf("Collect"), { end: false });
      caller.reset(stream, http2Errors.cancel);
      await new Promise(setImmediate);
    }
    await caller.closed;
    const goaway = caller.frames.find(({ type }) => type === frameTypes.goaway);
    assert.equal(goaway?.payload.readUInt32BE(4), http2Errors.calm);
    assert.equal(await metric(grpc, 'grpc_server_refused_connections_total{reason="reset"}'), 1);
    await until(() => work.begun === work.cancelled, { what: "nothing goes on for it" });
    assert.equal(await metric(grpc, "grpc_server_active_calls "), 0);
  });

  it("is not taken by callers who cancel less than they finish", async () => {
    const work: Work = { begun: 0, cancelled: 0 };
    await using grpc = await startHanging(work);
    const caller = new RawHttp2(grpc.server.port);
    caller.socket.setNoDelay(true);
    let stream = 1;
    for (; stream < 1_000; stream += 4) {
      caller.head(stream, headOf("Say"), { end: false });
      caller.data(stream, empty);
      const own = stream;
      await caller.until(({ type, flags, stream: of }) => type === frameTypes.headers && of === own && flags % 2 === 1);
      caller.head(stream + 2, headOf("Collect"), { end: false });
      caller.reset(stream + 2, http2Errors.cancel);
    }
    caller.head(stream, headOf("Say"), { end: false });
    caller.data(stream, empty);
    assert.equal(await caller.answer(stream), "200");
    caller.destroy();
  });
});
