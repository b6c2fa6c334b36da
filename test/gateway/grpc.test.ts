import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { describe, it } from "node:test";
import { status } from "@grpc/grpc-js";
import { AppError } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { EchoService } from "../../pkg/transport/src/gen/plinth/transport/testing/v1/echo_pb.ts";
import { startGrpc, type TestGrpc, type TestGrpcOptions } from "../../pkg/transport/src/testing/grpc.ts";
import { EchoClient, failureOf } from "../../pkg/transport/src/testing/grpc-client.ts";
import { parseGatewayDocument } from "../../pkg/gateway/src/config/document.ts";
import type { GatewayDocument } from "../../pkg/gateway/src/config/schema.ts";
import { toGrpcTimeout } from "../../pkg/gateway/src/protocols/grpc.ts";
import { type Reason, reasonOf } from "../../pkg/gateway/src/reasons.ts";
import { openRoute, startGateway, type TestGateway } from "../../pkg/gateway/src/testing/kit.ts";

interface Running extends AsyncDisposable {
  readonly gateway: TestGateway;
  readonly grpc: TestGrpc;
  /** Speaks with the gateway. */
  readonly client: EchoClient;
}

type Routes = NonNullable<Parameters<typeof startGateway>[0]>["routes"];

/** A client of the gRPC library, the gateway, and a server of gRPC behind it. */
async function start(
  options: TestGrpcOptions = {},
  routes: Routes = [openRoute({ maxBodyBytes: 1e9 })],
): Promise<Running> {
  const grpc = await startGrpc(options);
  const gateway = await startGateway({
    document: {
      services: Object.fromEntries(
        (routes ?? []).map(({ service }) => [service, service === "old" ? {} : { protocol: "http2" }]),
      ),
      routes: routes ?? [],
    },
    settings: { http2: { cleartext: true } },
  });
  const { instanceId } = options;
  await gateway.registry.register({
    service: "s",
    id: instanceId ?? "one",
    host: "127.0.0.1",
    ports: { grpc: grpc.server.port },
  });
  const client = new EchoClient(gateway.gateway.port);
  return {
    gateway,
    grpc,
    client,
    [Symbol.asyncDispose]: async () => {
      client.close();
      await gateway[Symbol.asyncDispose]();
      await grpc[Symbol.asyncDispose]();
    },
  };
}

describe("a call of gRPC through the gateway", () => {
  it("comes back with its reply, big ones too", async () => {
    await using running = await start();
    const { client } = running;
    const data = new Uint8Array(1_000_000).fill(7);
    const reply = await client.say({ text: "hello", data });
    assert.deepEqual([reply.text, reply.data.length], ["hello", 1_000_000]);
    const line = await running.gateway.lastLine();
    assert.deepEqual([line.status, line.reason, line.instance], [200, undefined, "one"]);
  });

  it("carries an error of the service with its code, metadata and text untouched", async () => {
    await using running = await start({
      handlers: {
        say: () => {
          throw new AppError("ERR_SHOP_CLOSED", "failed_precondition", "we open at 9 ü", { metadata: { until: "9" } });
        },
      },
    });
    const failure = await failureOf(running.client.say({}));
    assert.deepEqual(
      [failure.code, failure.info?.reason, failure.info?.metadata["until"], failure.message.includes("we open at 9 ü")],
      [status.FAILED_PRECONDITION, "ERR_SHOP_CLOSED", "9", true],
    );
    assert.equal((await running.gateway.lastLine()).status, 200);
  });

  const say = "/plinth.transport.testing.v1.EchoService/Say";
  const refusals: [what: string, routes: Routes, code: status, reason: Reason][] = [
    ["there is no route", [openRoute({ match: { path: "/other" } })], status.UNIMPLEMENTED, "route_not_found"],
    [
      "the route takes no POST",
      [openRoute({ match: { path: say, methods: ["GET"] } })],
      status.UNIMPLEMENTED,
      "method_not_allowed",
    ],
    ["the service is not there", [openRoute({ service: "h" })], status.UNAVAILABLE, "no_instance"],
    ["the service speaks HTTP/1.1", [openRoute({ service: "old" })], status.UNIMPLEMENTED, "grpc_unsupported"],
    [
      "the address is not let in",
      [openRoute({ addresses: { deny: ["127.0.0.1"] } })],
      status.PERMISSION_DENIED,
      "address_refused",
    ],
    ["the message is too large", [openRoute({ maxBodyBytes: 10 })], status.RESOURCE_EXHAUSTED, "body_too_large"],
  ];
  for (const [what, routes, code, reason] of refusals) {
    it(`is refused in the words of gRPC where ${what}`, async () => {
      await using running = await start({}, routes);
      const failure = await failureOf(running.client.say({ text: "a text that is longer" }));
      assert.deepEqual([failure.code, failure.info?.reason], [code, `ERR_GATEWAY_${reason.toUpperCase()}`]);
      assert.match(failure.requestId ?? "", /^[0-9a-f]{32}$/);
      const line = await running.gateway.lastLine();
      assert.deepEqual([line.status, line.reason], [reasonOf(reason).status, reason]);
    });
  }

  it("streams both ways, each message as it comes", async () => {
    await using running = await start();
    const { client } = running;
    const numbers: number[] = [];
    for await (const { number } of client.count({ to: 500, padding: 2_000 })) numbers.push(number);
    assert.deepEqual([numbers.length, numbers.at(-1)], [500, 500]);

    const { call, reply } = client.collect();
    for (let at = 0; at < 200; at++) call.write({ text: `${at}` });
    call.end();
    assert.equal((await reply).text.split(" ").length, 200);

    const chat = client.chat();
    const told: string[] = [];
    chat.on("data", ({ text }) => told.push(text));
    for (const text of ["one", "two"]) {
      chat.write({ text });
      await until(() => told.includes(`you said ${text}`)); // before the next is sent
    }
    chat.end();
    await once(chat, "end");
  });

  it("ends at the service when its caller leaves", async () => {
    let signal: AbortSignal | undefined;
    await using running = await start({
      handlers: {
        say: async (_request, call) => {
          ({ signal } = call);
          await new Promise(() => {});
          return {};
        },
      },
    });
    const { call, reply } = running.client.unary(EchoService.method.say, {});
    await until(() => signal);
    call.cancel();
    assert.equal((await failureOf(reply)).code, status.CANCELLED);
    await until(() => signal?.aborted);
    assert.equal((await running.gateway.lastLine()).reason, "client_gone");
  });

  it("has the service told what is left of the caller's time, never more than the route's", async () => {
    const left: number[] = [];
    const handlers: TestGrpcOptions["handlers"] = {
      say: (_request, call) => {
        left.push(call.deadlineAtMs - performance.now());
        return {};
      },
    };
    await using running = await start({ handlers }, [openRoute({ timeoutMs: 5_000 })]);
    await running.client.say({}, { deadlineMs: 60_000 });
    await running.client.say({}, { deadlineMs: 3_000 });
    await running.client.say({});
    assert.ok((left[0] ?? 0) > 3_000 && (left[0] ?? 0) <= 5_000, `${left[0]}`);
    assert.ok((left[1] ?? 0) <= 3_000, `${left[1]}`);
    assert.ok((left[2] ?? 0) > 3_000 && (left[2] ?? 0) <= 5_000, `${left[2]}`);
  });

  it("is ended by the gateway with DEADLINE_EXCEEDED when the route's time is up, half way as well", async () => {
    await using running = await start(
      {
        handlers: {
          say: () => new Promise(() => {}),
          async *count() {
            yield { number: 1 };
            await new Promise(() => {});
          },
        },
      },
      [openRoute({ timeoutMs: 150 })],
    );
    // The service knows of the time too, and may say so first.
    assert.equal((await failureOf(running.client.say({}))).code, status.DEADLINE_EXCEEDED);
    const half = running.client.count({ to: 2 });
    const failed = new Promise<Error>((resolve) => half.on("error", resolve));
    half.resume();
    assert.match((await failed).message, /^4 DEADLINE_EXCEEDED/);
  });

  it("ends with the reason in its trailers where the service breaks off half way", async () => {
    await using running = await start({
      handlers: {
        async *count() {
          yield { number: 1 };
          await new Promise(() => {});
        },
      },
    });
    const call = running.client.count({ to: 2 });
    const failed = new Promise<Error>((resolve) => call.on("error", resolve));
    await once(call, "data");
    await running.grpc.server.close();
    assert.match((await failed).message, /^14 UNAVAILABLE/);
  });

  it("goes to another instance where one refuses it as meant for another", async () => {
    await using running = await start({ instanceId: "one" });
    await using stranger = await startGrpc({ instanceId: "stranger" });
    const { registry } = running.gateway;
    // what has taken the place of an instance that the registry still has
    await registry.register({
      service: "s",
      id: "gone",
      host: "127.0.0.1",
      identity: "gone",
      ports: { grpc: stranger.server.port },
    });
    const texts = await Promise.all(Array.from({ length: 20 }, (_, at) => running.client.say({ text: `${at}` })));
    assert.equal(texts.length, 20);
    assert.match(
      await running.gateway.metrics(),
      /gateway_upstream_attempts_total\{service="s",outcome="misdirected"\} \d/,
    );
  });

  it("comes to no service that is also asked for WebSockets, which HTTP/2 does not carry here", () => {
    const document: GatewayDocument = {
      services: { s: { protocol: "http2" } },
      routes: [openRoute({ websocket: true })],
    };
    assert.throws(() => parseGatewayDocument(document), /routes\.0\.websocket.*service s has `protocol: http2`/s);
  });

  it("says a time that is left in eight digits at most", () => {
    assert.deepEqual([0, 1.9, 99_999_999, 100_000_000, 1e15].map(toGrpcTimeout), [
      "1m",
      "1m",
      "99999999m",
      "100000S",
      "99999999S",
    ]);
  });

  it("is refused when its time is none", async () => {
    await using running = await start();
    const session = connect(`http://127.0.0.1:${running.gateway.gateway.port}`);
    const stream = session.request({
      ":method": "POST",
      ":path": say,
      "content-type": "application/grpc",
      te: "trailers",
      "grpc-timeout": "1 hour",
    });
    const got = Promise.withResolvers<unknown[]>();
    stream.on("response", (headers) => got.resolve([headers[":status"], headers["grpc-status"]]));
    assert.deepEqual(await got.promise, [200, "3"]);
    session.destroy();
  });
});
