import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type ClientReadableStream, status } from "@grpc/grpc-js";
import { FakeClock } from "@plinth/kernel/testing";
import {
  Health,
  type HealthCheckResponse,
  HealthCheckResponse_ServingStatus as Serving,
} from "../gen/grpc/health/v1/health_pb.ts";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { failureOf } from "../testing/grpc-client.ts";
import { startGrpc, type TestGrpc } from "../testing/grpc.ts";

const { check, watch } = Health.method;

async function checked({ client }: TestGrpc, service = ""): Promise<Serving> {
  return (await client.unary(check, { service }).reply).status;
}

/** A watch, and its answers one at a time. */
function watched({ client }: TestGrpc, service = "") {
  const stream: ClientReadableStream<HealthCheckResponse> = client.serverStream(watch, { service });
  const answers = stream[Symbol.asyncIterator]();
  const next = async (): Promise<Serving | "end"> => {
    const { done, value } = await answers.next();
    return done ? "end" : value.status;
  };
  return { stream, next };
}

describe("grpc.health.v1 Check", () => {
  it("knows the server and each of its services, and follows the state of the app", async () => {
    await using grpc = await startGrpc();
    for (const service of ["", EchoService.typeName]) {
      for (const state of ["starting", "draining", "stopped"] as const) {
        grpc.health.setState(state);
        assert.equal(await checked(grpc, service), Serving.NOT_SERVING);
      }
      grpc.health.setState("ready");
      assert.equal(await checked(grpc, service), Serving.SERVING);
    }
  });

  it("does not serve while a critical check fails", async () => {
    await using grpc = await startGrpc();
    let isUp = true;
    grpc.health.register({ name: "database", run: () => (isUp ? undefined : Promise.reject(new Error("down"))) });
    assert.equal(await checked(grpc), Serving.SERVING);
    isUp = false;
    assert.equal(await checked(grpc), Serving.NOT_SERVING);
  });

  it("answers NOT_FOUND for a service that is not there, without repeating its name", async () => {
    await using grpc = await startGrpc();
    const failure = await failureOf(grpc.client.unary(check, { service: "nowhere.Service" }).reply);
    assert.equal(failure.code, status.NOT_FOUND);
    assert.doesNotMatch(failure.message, /nowhere/);
  });

  it("is unseen by metrics and access log", async () => {
    await using grpc = await startGrpc();
    await checked(grpc);
    await failureOf(grpc.client.unary(check, { service: "nowhere" }).reply);
    assert.deepEqual(grpc.lines.withMessage("call"), []);
    assert.doesNotMatch((await grpc.metrics.expose()).body, /grpc_server_call_duration_seconds_count/);
  });
});

describe("grpc.health.v1 Watch", () => {
  it("tells the status now and each time that it changes, and only then", async () => {
    await using grpc = await startGrpc();
    grpc.health.setState("starting");
    const { stream, next } = watched(grpc);
    assert.equal(await next(), Serving.NOT_SERVING);
    grpc.health.setState("ready");
    assert.equal(await next(), Serving.SERVING);
    grpc.health.setState("starting");
    assert.equal(await next(), Serving.NOT_SERVING);
    stream.on("error", () => {});
    stream.cancel();
  });

  it("misses no change, however quickly it comes after the first answer", async () => {
    await using grpc = await startGrpc();
    for (let round = 0; round < 50; round++) {
      grpc.health.setState("ready");
      const { stream, next } = watched(grpc);
      stream.once("metadata", () => grpc.health.setState("starting"));
      while ((await next()) !== Serving.NOT_SERVING);
      stream.on("error", () => {});
      stream.cancel();
    }
  });

  it("sees a check that begins to fail, within five seconds", async () => {
    const clock = new FakeClock();
    await using grpc = await startGrpc({ clock });
    let isUp = true;
    grpc.health.register({ name: "database", run: () => (isUp ? undefined : Promise.reject(new Error("down"))) });
    const { stream, next } = watched(grpc);
    assert.equal(await next(), Serving.SERVING);
    isUp = false;
    const answer = next();
    await clock.advance(5_000);
    assert.equal(await answer, Serving.NOT_SERVING);
    stream.on("error", () => {});
    stream.cancel();
  });

  it("tells that the app drains and ends, so that the server can close", async () => {
    await using grpc = await startGrpc();
    const { next } = watched(grpc);
    assert.equal(await next(), Serving.SERVING);
    grpc.health.setState("draining");
    assert.equal(await next(), Serving.NOT_SERVING);
    assert.equal(await next(), "end");
    await grpc.server.drain({ signal: new AbortController().signal });
  });

  it("tells SERVICE_UNKNOWN for a service that is not there, and stays open", async () => {
    await using grpc = await startGrpc();
    const { stream, next } = watched(grpc, "nowhere.Service");
    assert.equal(await next(), Serving.SERVICE_UNKNOWN);
    grpc.health.setState("draining");
    assert.equal(await next(), "end");
    assert.equal(stream.destroyed, true);
  });

  it("forgets a watcher that leaves", async () => {
    const clock = new FakeClock();
    await using grpc = await startGrpc({ clock });
    const { stream, next } = watched(grpc);
    await next();
    stream.on("error", () => {});
    stream.cancel();
    while (clock.pending > 0) await new Promise(setImmediate);
  });
});
