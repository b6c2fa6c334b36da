import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { describe, it } from "node:test";
import { coreModule, defineModule, provider } from "@plinth/kernel";
import { testApp, until } from "@plinth/kernel/testing";
import { createMemoryRegistry, createMemoryStore, type MemoryStore, registryModuleOf } from "@plinth/registry";
import { Client, credentials } from "@grpc/grpc-js";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { httpModule, httpRoutes, httpServer } from "../http/module.ts";
import type { HttpServer } from "../http/server.ts";
import { createRpcClient } from "../rpc/client/client.ts";
import { createConnectChannel } from "../rpc/client/connect-channel.ts";
import { connectRoutes } from "../rpc/connect.ts";
import { rpcService } from "../rpc/service.ts";
import { echoHandlers } from "../testing/grpc.ts";
import { startHttp } from "../testing/http.ts";
import { startInstance } from "../testing/instances.ts";
import { discoveryModule, grpcTargets, serviceDispatcher } from "./index.ts";

describe("a Connect channel on a registry", () => {
  it("calls an instance of the service, and tells where there is none", async () => {
    const registry = createMemoryRegistry();
    const channel = await createConnectChannel({ peer: "Echo", registry });
    const client = createRpcClient(EchoService, { channel });
    await assert.rejects(client.say({ text: "?" }), {
      name: "RpcError",
      code: "ERR_NO_INSTANCE",
      status: "unavailable",
      isUnsent: true,
      message: "the registry knows no instance of Echo that speaks http",
    });
    await using server = await startHttp({ routes: connectRoutes([rpcService(EchoService, echoHandlers)]) });
    const ports = { http: Number(new URL(server.origin).port) };
    await registry.register({ service: "Echo", id: "a", host: "127.0.0.1", ports });
    await until(async () => (await client.say({ text: "hi" }).catch(() => undefined))?.text === "hi");
    const under = client.say({ text: "last" });
    await channel.close({ signal: new AbortController().signal });
    assert.equal((await under).text, "last");
    await assert.rejects(client.say({ text: "late" }), { code: "ERR_RPC_CLIENT_CLOSED" });
    await until(() => registry.stats().services.length === 0);
    await registry.close();
  });

  it("takes an answer for somebody else, where there is no other instance, for one that cannot be reached", async () => {
    const registry = createMemoryRegistry();
    const channel = await createConnectChannel({ peer: "notes", registry });
    const refuse = (_seen: unknown, reply: ServerResponse): void => void reply.writeHead(421).end();
    await using _taken = await startInstance(registry, "a", refuse, { identity: "before" });
    const client = createRpcClient(EchoService, { channel });
    await assert.rejects(client.say({ text: "?" }), { code: "ERR_RPC_UNAVAILABLE", isUnsent: true });
    await channel.close();
    await registry.close();
  });

  it("takes one of url and registry", async () => {
    const registry = createMemoryRegistry();
    for (const options of [{}, { url: "http://127.0.0.1:1", registry }, { registry, service: "a b" }])
      await assert.rejects(createConnectChannel({ peer: "echo", ...options }), { code: "ERR_OPTION_TYPE" });
  });
});

describe("discoveryModule", () => {
  it("calls the instances of the app's own registry, beside an app with another, and until requests have drained", async () => {
    const [ours, theirs] = [createMemoryStore(), createMemoryStore()];
    await using _a = await startBackend(ours, "ours");
    await using _b = await startBackend(theirs, "theirs");
    const held = Promise.withResolvers<void>();
    const arrived = Promise.withResolvers<void>();
    await using first = await startFront(ours, async () => {
      arrived.resolve();
      await held.promise;
    });
    await using second = await startFront(theirs, async () => {});
    const asked = textOf(first);
    await arrived.promise;
    assert.match(await textOf(second), /"text":"theirs"/);
    const stopped = first.stop();
    await until(() => first.state === "draining");
    held.resolve();
    const answer = await asked;
    assert.match(answer, /"text":"ours"/);
    const [, target = ""] = /"(plinth:[^"]+)"/.exec(answer) ?? [];
    await stopped;
    const late = new Client(target, credentials.createInsecure());
    const gone = await new Promise<string>((resolve) =>
      late.makeUnaryRequest("/a/b", same, same, Buffer.alloc(0), (error) => resolve(error?.details ?? "")),
    );
    assert.match(gone, /finds no registry/, "what was registered for the app is gone with it");
    late.close();
  });
});

const same = (bytes: Buffer): Buffer => bytes;
const config = { environment: { PLINTH_HTTP_PORT: "0" } };

function startBackend(store: MemoryStore, text: string) {
  const routes = provider({ provides: httpRoutes, create: () => (http) => void http.get("/", async () => ({ text })) });
  return testApp({
    name: "notes",
    modules: [coreModule, httpModule, registryOf(store), defineModule("routes", [routes])],
    config,
  });
}

function startFront(store: MemoryStore, before: () => Promise<void>) {
  const routes = provider({
    provides: httpRoutes,
    needs: { dispatcher: serviceDispatcher, targets: grpcTargets },
    create:
      ({ dispatcher, targets }) =>
      (http) =>
        void http.get("/", async () => {
          await before();
          const reply = await fetch("http://notes/", { dispatcher });
          return { said: await reply.json(), target: targets.target("notes") };
        }),
  });
  return testApp({
    name: "front",
    modules: [coreModule, httpModule, registryOf(store), discoveryModule, defineModule("routes", [routes])],
    config,
  });
}

function registryOf(store: MemoryStore) {
  return registryModuleOf((context) => createMemoryRegistry({ ...context, store }));
}

async function textOf(app: { get(token: typeof httpServer): HttpServer }): Promise<string> {
  return (await fetch(`http://127.0.0.1:${app.get(httpServer).port}/`)).text();
}
