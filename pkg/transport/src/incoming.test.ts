import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  AppError,
  coreModule,
  current,
  defineModule,
  errorReporters,
  type ErrorReport,
  provider,
  requestScopes,
  token,
} from "@plinth/kernel";
import { testApp, until } from "@plinth/kernel/testing";
import { EchoService } from "./gen/plinth/transport/testing/v1/echo_pb.ts";
import { grpcModule, grpcServer } from "./grpc/module.ts";
import { httpModule, httpRoutes, httpServer } from "./http/module.ts";
import { incoming } from "./incoming.ts";
import { rpcService, rpcServices } from "./rpc/service.ts";
import { echoHandlers } from "./testing/grpc.ts";
import { EchoClient, failureOf } from "./testing/grpc-client.ts";

const user = token("user").perRequest<{ readonly name: string }>();

/** Who calls, made of a header once for each request; the same for a route and for an RPC. */
function users(said: string[], stop: (name: string) => void = () => {}) {
  return defineModule("users", [
    provider({
      provides: user,
      needs: { incoming },
      create: async ({ incoming }) => {
        const name = incoming.header("x-user");
        if (name === undefined) throw new AppError("ERR_TEST_NOBODY", "unauthenticated", "nobody");
        said.push(`make ${name} by ${incoming.protocol} for ${incoming.route}`);
        return { name };
      },
      stop: ({ name }) => {
        said.push(`stop ${name}`);
        stop(name);
      },
    }),
    provider({
      provides: httpRoutes,
      needs: { user: current(user) },
      create:
        ({ user }) =>
        (app) => {
          app.get("/me", async () => `${(await user()).name} ${(await user()).name}`);
          app.get("/nobody", async () => "nobody");
        },
    }),
    provider({
      provides: rpcServices,
      needs: { user: current(user) },
      create: ({ user }) =>
        rpcService(EchoService, { ...echoHandlers, say: async () => ({ text: `rpc ${(await user()).name}` }) }),
    }),
  ]);
}

const config = { defaults: { http: { port: 0 }, grpc: { port: 0 } } };

describe("what lives for one request", () => {
  it("is made once for each request, and stopped when it is over, over HTTP, Connect and gRPC alike", async () => {
    const said: string[] = [];
    const modules = [coreModule, httpModule, grpcModule, users(said)] as const;
    await using app = await testApp({ name: "notes", modules, config });
    const origin = `http://127.0.0.1:${app.get(httpServer).port}`;
    const text = async (path: string, init: RequestInit): Promise<string> =>
      (await fetch(`${origin}${path}`, init)).text();
    assert.equal(await text("/me", { headers: { "x-user": "ann" } }), "ann ann");
    await until(() => said.includes("stop ann"));
    const connect = await text(`/${EchoService.typeName}/Say`, {
      method: "POST",
      headers: { "x-user": "bob", "content-type": "application/json" },
      body: "{}",
    });
    assert.deepEqual(JSON.parse(connect), { text: "rpc bob" });
    await until(() => said.includes("stop bob"));
    const client = new EchoClient(app.get(grpcServer).port);
    try {
      assert.equal((await client.say({}, { metadata: { "x-user": ["cy", "dee"] } })).text, "rpc cy, dee");
    } finally {
      client.close();
    }
    await until(() => said.includes("stop cy, dee"));
    const method = `${EchoService.typeName}/Say`;
    assert.deepEqual(said, [
      "make ann by http for /me",
      "stop ann",
      `make bob by http for /${method}`,
      "stop bob",
      `make cy, dee by grpc for ${method}`,
      "stop cy, dee",
    ]);
    assert.equal(app.get(requestScopes).openCount, 0);
  });

  it("fails a request with the status that its provider throws, and is no incident", async () => {
    const reports: ErrorReport[] = [];
    const modules = [coreModule, httpModule, grpcModule, users([]), reporting(reports)] as const;
    await using app = await testApp({ name: "notes", modules, config });
    const response = await fetch(`http://127.0.0.1:${app.get(httpServer).port}/me`);
    assert.equal(response.status, 401);
    await response.text();
    const client = new EchoClient(app.get(grpcServer).port);
    try {
      assert.equal((await failureOf(client.say({}))).info?.reason, "ERR_TEST_NOBODY");
    } finally {
      client.close();
    }
    assert.deepEqual(reports, []);
  });

  it("costs a request nothing that does not ask for it", async () => {
    const said: string[] = [];
    await using app = await testApp({
      name: "notes",
      modules: [coreModule, httpModule, grpcModule, users(said)],
      config,
    });
    const scopes = app.get(requestScopes);
    const opened = countOpened(scopes);
    await (await fetch(`http://127.0.0.1:${app.get(httpServer).port}/nobody`)).text();
    assert.deepEqual([said, opened()], [[], 0]);
  });

  it("that cannot be stopped is reported with the request, whose answer it does not change", async () => {
    const reports: ErrorReport[] = [];
    const broken = users([], (name) => {
      throw new Error(`cannot stop ${name}`);
    });
    await using app = await testApp({
      name: "notes",
      modules: [coreModule, httpModule, grpcModule, broken, reporting(reports)],
      config,
    });
    const response = await fetch(`http://127.0.0.1:${app.get(httpServer).port}/me`, {
      headers: { "x-user": "ann", "x-request-id": "request-0001" },
    });
    assert.deepEqual([response.status, await response.text()], [200, "ann ann"]);
    await until(() => reports.length > 0);
    assert.deepEqual(
      reports.map(({ error, requestId, origin }) => [error.code, requestId, origin]),
      [["ERR_SCOPE_STOP", "request-0001", "request"]],
    );
  });
});

function reporting(reports: ErrorReport[]) {
  const report = (batch: readonly ErrorReport[]): void => void reports.push(...batch);
  return defineModule("reporting", [provider({ provides: errorReporters, create: () => ({ name: "test", report }) })]);
}

/** Counts how often scopes are opened from now on. */
function countOpened(scopes: { open: unknown }): () => number {
  let count = 0;
  const { open } = scopes;
  scopes.open = function counted(this: unknown, ...args: unknown[]): unknown {
    count++;
    return typeof open === "function" ? Reflect.apply(open, this, args) : undefined;
  };
  return () => count;
}
