import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { once } from "node:events";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { coreModule, createApp } from "@plinth/kernel";
import { testApp, until } from "@plinth/kernel/testing";
import { createMemoryRegistry, createMemoryStore, registryModuleOf } from "@plinth/registry";
import { opsListener, opsModule } from "@plinth/transport";
import { gateway, gatewayModule, gatewayModuleOf } from "./module.ts";
import { echo, httpInstance, openRoute } from "./testing/kit.ts";

describe("gatewayModule", () => {
  const folder = mkdtempSync(join(tmpdir(), "plinth-gateway-"));
  const file = join(folder, "gateway.yaml");
  before(() => writeFileSync(file, "routes: [{ name: all, match: { path: /** }, service: s, anonymous: true }]"));
  after(() => rmSync(folder, { recursive: true }));

  const store = createMemoryStore();
  const memory = registryModuleOf((context) => createMemoryRegistry({ ...context, store }));

  it("serves the routes of a file, with ops endpoints of their own, and drains with the app", async () => {
    await using instance = await httpInstance(echo);
    const registry = createMemoryRegistry({ store });
    await registry.register({ service: "s", id: "s-1", host: "127.0.0.1", ports: { http: instance.port } });
    await using app = await testApp({
      name: "gateway",
      modules: [coreModule, opsModule, memory, gatewayModule],
      expose: [opsListener],
      config: { overrides: { gateway: { port: 0, routes: file }, ops: { port: 0 } } },
    });
    const own = app.get(gateway);
    const ops = `http://127.0.0.1:${app.get(opsListener).port}`;
    assert.equal(
      ((await fetch(`http://127.0.0.1:${own.port}/healthz`).then((reply) => reply.json())) as { url: string }).url,
      "/healthz",
      "the traffic port belongs to the routes",
    );
    assert.equal((await fetch(`${ops}/ready`)).status, 200);
    assert.match(
      await (await fetch(`${ops}/metrics`)).text(),
      /gateway_requests_total\{route="all",method="GET",status_class="2xx",reason="none"\} 1/,
    );
    const [line] = await until(() =>
      app.logged.withMessage("request").length > 0 ? app.logged.withMessage("request") : undefined,
    );
    assert.match(String(line?.trace_id), /^[0-9a-f]{32}$/);
    await app.stop();
    await assert.rejects(fetch(`http://127.0.0.1:${own.port}/`));
    await registry.close();
  });

  it("stops the app when its listener dies", async () => {
    const listened = new Set<Server>();
    const onListen = (message: unknown): void => {
      if (typeof message === "object" && message !== null && "server" in message && message.server instanceof Server) {
        listened.add(message.server);
      }
    };
    subscribe("tracing:net.server.listen:asyncEnd", onListen);
    await using app = await testApp({
      name: "gateway",
      modules: [coreModule, memory, gatewayModule],
      config: { overrides: { gateway: { port: 0, routes: file } } },
    });
    unsubscribe("tracing:net.server.listen:asyncEnd", onListen);
    for (const server of listened) server.close();
    const error = await app.failure;
    assert.ok(error instanceof Error);
    assert.match(error.message, /^the gateway no longer listens on 127\.0\.0\.1:\d+: it was closed, and not by a stop/);
  });

  it("closes each connection as soon as the app drains", async () => {
    await using instance = await httpInstance(echo);
    const registry = createMemoryRegistry({ store });
    await registry.register({ service: "s", id: "s-2", host: "127.0.0.1", ports: { http: instance.port } });
    const app = createApp({
      name: "gateway",
      modules: [coreModule, opsModule, memory, gatewayModuleOf({ routes: [openRoute()] })],
      logDestination: { write: () => undefined },
      config: {
        environment: { PLINTH_GATEWAY_PORT: "0", PLINTH_OPS_PORT: "0", PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "300" },
      },
    });
    await app.start();
    const url = `http://127.0.0.1:${app.get(gateway).port}`;
    assert.equal((await fetch(url)).headers.get("connection"), "keep-alive");
    const stopped = app.stop();
    await until(() => (app.state === "draining" ? true : undefined));
    assert.equal((await fetch(url)).headers.get("connection"), "close");
    await stopped;
    await registry.close();
  });

  it("does not start on a busy port, naming it and the variable that moves it", async () => {
    const busy = createServer().listen(0, "127.0.0.1");
    await once(busy, "listening");
    const { port } = busy.address() as { port: number };
    await assert.rejects(
      testApp({
        name: "gateway",
        modules: [coreModule, opsModule, memory, gatewayModule],
        config: { environment: { PLINTH_GATEWAY_PORT: String(port), PLINTH_GATEWAY_ROUTES: file } },
      }),
      new RegExp(`port ${port} .*PLINTH_GATEWAY_PORT`),
    );
    busy.close();
  });

  it("does not start without a document, or with a faulty one", async () => {
    const start = (environment: Record<string, string>): Promise<unknown> =>
      testApp({ name: "gateway", modules: [coreModule, opsModule, memory, gatewayModule], config: { environment } });
    await assert.rejects(start({}), /PLINTH_GATEWAY_ROUTES/);
    writeFileSync(join(folder, "faulty.yaml"), "route: []");
    await assert.rejects(
      start({ PLINTH_GATEWAY_ROUTES: join(folder, "faulty.yaml") }),
      /did you mean "routes".*faulty\.yaml:1/s,
    );
    await assert.rejects(
      start({ PLINTH_GATEWAY_ROUTES: file, PLINTH_GATEWAY_HEADERS_TIMEOUT_MS: "200000" }),
      /requestTimeoutMs: expected at least headersTimeoutMs/,
    );
  });

  it("is ready, but says so, when tokens cannot be checked", async () => {
    await using app = await testApp({
      name: "gateway",
      modules: [
        coreModule,
        opsModule,
        memory,
        gatewayModuleOf({
          jwt: { nobody: { issuer: "i", audiences: ["a"], jwks: "http://127.0.0.1:1/jwks" } },
          routes: [openRoute()],
        }),
      ],
      expose: [opsListener],
      config: { environment: {}, overrides: { gateway: { port: 0 }, ops: { port: 0 } } },
    });
    const ready = await fetch(`http://127.0.0.1:${app.get(opsListener).port}/ready`);
    assert.equal(ready.status, 200);
    const { status, checks } = (await ready.json()) as { status: string; checks: { name: string; status: string }[] };
    assert.equal(status, "warn");
    assert.equal(checks.find(({ name }) => name === "gateway.keys")?.status, "warn");
  });
});
