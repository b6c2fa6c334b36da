import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type ClientReadableStream, status } from "@grpc/grpc-js";
import { FakeClock, until } from "@plinth/kernel/testing";
import {
  Health,
  type HealthCheckResponse,
  HealthCheckResponse_ServingStatus as Serving,
} from "../gen/grpc/health/v1/health_pb.ts";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { failureOf } from "../testing/grpc-client.ts";
import { startGrpc, type TestGrpc } from "../testing/grpc.ts";

const { check, list, watch } = Health.method;

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

function requireUp({ isUp }: { readonly isUp: boolean }): void {
  if (!isUp) throw new Error("down");
}

describe("grpc.health.v1 List", () => {
  it("tells the state of the server and of each of its services, and follows that of the app", async () => {
    await using grpc = await startGrpc();
    const listed = async (): Promise<[string, Serving][]> => {
      const { statuses } = await grpc.client.unary(list, {}).reply;
      return Object.entries(statuses).map(([service, { status: state }]) => [service, state]);
    };
    assert.deepEqual(await listed(), [
      ["", Serving.SERVING],
      [EchoService.typeName, Serving.SERVING],
    ]);
    grpc.health.setPhase("draining");
    assert.deepEqual(await listed(), [
      ["", Serving.NOT_SERVING],
      [EchoService.typeName, Serving.NOT_SERVING],
    ]);
  });
});

describe("grpc.health.v1 Check", () => {
  it("knows the server and each of its services, and follows the state of the app", async () => {
    await using grpc = await startGrpc();
    for (const service of ["", EchoService.typeName]) {
      for (const phase of ["starting", "draining", "stopped"] as const) {
        grpc.health.setPhase(phase);
        assert.equal(await checked(grpc, service), Serving.NOT_SERVING);
      }
      grpc.health.setPhase("ready");
      assert.equal(await checked(grpc, service), Serving.SERVING);
    }
  });

  it("waits for a check that has not run yet, and serves while one that is not critical fails", async () => {
    await using grpc = await startGrpc();
    const answer = Promise.withResolvers<void>();
    grpc.health.register({ name: "database", run: () => answer.promise });
    grpc.health.register({ name: "mail", critical: false, run: () => Promise.reject(new Error("down")) });
    const reply = checked(grpc);
    answer.resolve();
    assert.equal(await reply, Serving.SERVING);
    assert.equal(grpc.health.state, "degraded");
  });

  it("does not serve while a critical check fails", async () => {
    const clock = new FakeClock();
    await using grpc = await startGrpc({ clock });
    const database = { isUp: true };
    grpc.health.register({ name: "database", run: () => requireUp(database) });
    assert.equal(await checked(grpc), Serving.SERVING);
    database.isUp = false;
    await clock.advance(10_000);
    assert.equal(await checked(grpc), Serving.NOT_SERVING);
    database.isUp = true;
    await clock.advance(5_000);
    assert.equal(await checked(grpc), Serving.SERVING);
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
    grpc.health.setPhase("starting");
    const { stream, next } = watched(grpc);
    assert.equal(await next(), Serving.NOT_SERVING);
    grpc.health.setPhase("ready");
    assert.equal(await next(), Serving.SERVING);
    grpc.health.setPhase("starting");
    assert.equal(await next(), Serving.NOT_SERVING);
    stream.on("error", () => {});
    stream.cancel();
  });

  it("misses no change, however quickly it comes after the first answer", async () => {
    await using grpc = await startGrpc();
    for (let round = 0; round < 50; round++) {
      grpc.health.setPhase("ready");
      const { stream, next } = watched(grpc);
      stream.once("metadata", () => grpc.health.setPhase("starting"));
      while ((await next()) !== Serving.NOT_SERVING);
      stream.on("error", () => {});
      stream.cancel();
    }
  });

  it("tells a hundred watchers of every service at once when a check begins to fail, and when it recovers, once each", async () => {
    const clock = new FakeClock();
    await using grpc = await startGrpc({ clock });
    const database = { isUp: true };
    grpc.health.register({ name: "database", run: () => requireUp(database) });
    const names = ["", EchoService.typeName];
    const watchers = Array.from({ length: 100 }, (_, index) => watched(grpc, names[index % 2]));
    const told = (): Promise<unknown[]> => Promise.all(watchers.map(({ next }) => next()));
    const all = (status: Serving): Serving[] => watchers.map(() => status);
    assert.deepEqual(await told(), all(Serving.SERVING));
    database.isUp = false;
    await clock.advance(15_000); // more failures than it takes
    assert.deepEqual(await told(), all(Serving.NOT_SERVING));
    database.isUp = true;
    await clock.advance(15_000);
    assert.deepEqual(await told(), all(Serving.SERVING));
    for (const { stream } of watchers) stream.on("error", () => {}).cancel();
  });

  it("tells nothing when the app is degraded, and goes on serving", async () => {
    const clock = new FakeClock();
    await using grpc = await startGrpc({ clock });
    const mail = { isUp: true };
    grpc.health.register({ name: "mail", critical: false, run: () => requireUp(mail) });
    const { next } = watched(grpc);
    assert.equal(await next(), Serving.SERVING);
    mail.isUp = false;
    await clock.advance(10_000);
    assert.equal(grpc.health.state, "degraded");
    grpc.health.setPhase("draining");
    assert.equal(await next(), Serving.NOT_SERVING);
    assert.equal(await next(), "end");
  });

  it("tells that the app drains and ends, so that the server can close", async () => {
    await using grpc = await startGrpc();
    const { next } = watched(grpc);
    assert.equal(await next(), Serving.SERVING);
    grpc.health.setPhase("draining");
    assert.equal(await next(), Serving.NOT_SERVING);
    assert.equal(await next(), "end");
    await grpc.server.drain({ signal: new AbortController().signal });
  });

  it("tells SERVICE_UNKNOWN for a service that is not there, and stays open", async () => {
    await using grpc = await startGrpc();
    const { stream, next } = watched(grpc, "nowhere.Service");
    assert.equal(await next(), Serving.SERVICE_UNKNOWN);
    grpc.health.setPhase("draining");
    assert.equal(await next(), "end");
    assert.equal(stream.destroyed, true);
  });

  it("forgets a watcher that leaves", async () => {
    await using grpc = await startGrpc();
    let listeners = 0;
    const { onState } = grpc.health;
    grpc.health.onState = (listener) => {
      listeners++;
      const leave = onState(listener);
      return () => {
        listeners--;
        leave();
      };
    };
    const { stream, next } = watched(grpc);
    await next();
    assert.equal(listeners, 1);
    stream.on("error", () => {});
    stream.cancel();
    await until(() => listeners === 0);
  });
});
