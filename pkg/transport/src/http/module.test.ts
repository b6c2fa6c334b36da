import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { coreModule, createApp, currentContext, defineModule, health, provider, token } from "@plinth/kernel";
import { MemoryLog, testApp, until } from "@plinth/kernel/testing";
import { endpoints } from "@plinth/registry";
import { makeCertificate } from "../testing/certificates.ts";
import { RawConnection, testSettings } from "../testing/http.ts";
import { httpModule, httpModuleIn, httpRoutes, httpServer } from "./module.ts";
import { httpSettings, httpSettingsIn } from "./settings.ts";

const hello = defineModule("hello", [
  provider({ provides: httpRoutes, create: () => (app) => void app.get("/hello", async () => "hello") }),
]);

const modules = [coreModule, httpModule, hello] as const;
const config = { defaults: { http: { port: 0 } } };

describe("the HTTP module", () => {
  it("serves the routes of all modules, and the ops endpoints", async () => {
    const more = defineModule("more", [
      provider({ provides: httpRoutes, create: () => (app) => void app.get("/more", async () => "more") }),
    ]);
    await using app = await testApp({ name: "notes", modules: [...modules, more], config });
    const origin = `http://127.0.0.1:${app.get(httpServer).port}`;
    const replies = ["/hello", "/more", "/healthz", "/ready"].map(async (path) =>
      (await fetch(`${origin}${path}`)).text(),
    );
    const [first, second, healthz, ready] = await Promise.all(replies);
    assert.deepEqual([first, second, healthz], ["hello", "more", '{"status":"pass"}']);
    assert.match(ready ?? "", /"state":"ready"/);
    assert.deepEqual(app.logged.withMessage("http server listens")[0]?.port, app.get(httpServer).port);
  });

  it("names its loggers, so that lines of requests alone can be turned off", async () => {
    const log = { levels: { "http.access": "off" } };
    const off = await testApp({ name: "notes", modules, config: { defaults: { ...config.defaults, log } } });
    const on = await testApp({ name: "notes", modules, config });
    for (const app of [off, on]) {
      await (await fetch(`http://127.0.0.1:${app.get(httpServer).port}/hello`)).text();
      await app.stop(); // what is in flight is over: its line is written
      assert.equal(app.logged.withMessage("http server listens")[0]?.logger, "http");
    }
    assert.deepEqual(off.logged.withMessage("request"), []);
    assert.deepEqual(
      on.logged.withMessage("request").map(({ logger }) => logger),
      ["http.access"],
    );
  });

  it("leaves the ops endpoints to their listener when there is one", async () => {
    await using app = await testApp({
      name: "notes",
      modules,
      config: { defaults: { http: { port: 0 }, ops: { port: 0 } } },
    });
    const response = await fetch(`http://127.0.0.1:${app.get(httpServer).port}/healthz`);
    assert.equal(response.status, 404);
    await response.text();
  });

  it("tells the registry where it listens, and where it says that it is ready", async () => {
    const seen = token("seen").of<unknown>();
    const look = defineModule("look", [
      provider({
        provides: seen,
        needs: { all: endpoints },
        create: ({ all }) => all,
        join: (all) => void (joined = all as typeof joined),
      }),
    ]);
    let joined: readonly { protocol: string; host: string; port: () => number; readyPath?: string }[] = [];
    await using app = await testApp({ name: "notes", modules: [...modules, look], config });
    const [endpoint] = joined;
    assert.deepEqual(
      [joined.length, endpoint?.protocol, endpoint?.host, endpoint?.port(), endpoint?.readyPath],
      [1, "http", "127.0.0.1", app.get(httpServer).port, "/ready"],
    );
  });

  it("tells the registry that it is of no use there on a path, or where it speaks TLS", async () => {
    const folder = mkdtempSync(join(tmpdir(), "plinth-module-"));
    const { cert, key } = makeCertificate();
    const [certFile, keyFile, socketPath] = ["crt", "key", "sock"].map((name) => join(folder, name));
    writeFileSync(certFile ?? "", cert);
    writeFileSync(keyFile ?? "", key);
    const seen: (string | undefined)[] = [];
    const look = defineModule("look", [
      provider({
        provides: token("look").of<true>(),
        needs: { all: endpoints },
        create: ({ all }) => {
          for (const { unusable } of all) seen.push(unusable);
          return true as const;
        },
        join: () => {},
      }),
    ]);
    try {
      for (const http of [
        { tls: { certFile, keyFile } },
        { socketPath },
        { socketPath, tls: { certFile, keyFile } },
        {},
      ]) {
        const defaults = { http: { port: 0, ...http } };
        await using _ = await testApp({ name: "notes", modules: [...modules, look], config: { defaults } });
      }
      const onPath = "it listens on a path, http.socketPath, and on no port";
      const withTls = "it speaks TLS, and the registry tells callers of no scheme but http";
      assert.deepEqual(seen, [withTls, onPath, onPath, undefined]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("says that it drains before it stops accepting, and serves until then", async () => {
    const seen: unknown[] = [];
    let origin = "";
    const slow = token("slow").of<true>();
    const leaver = defineModule("leaver", [
      provider({
        provides: slow,
        create: () => true as const,
        join: () => {},
        leave: async () => {
          const [ready, page] = await Promise.all([fetch(`${origin}/ready`), fetch(`${origin}/hello`)]);
          seen.push(ready.status, page.status, page.headers.get("connection"));
          await Promise.all([ready.text(), page.text()]);
        },
      }),
    ]);
    const app = await testApp({ name: "notes", modules: [...modules, leaver], config });
    origin = `http://127.0.0.1:${app.get(httpServer).port}`;
    await app.stop();
    assert.deepEqual(seen, [503, 200, "close"]);
    await assert.rejects(fetch(`${origin}/hello`));
  });

  it("lets a request under way use everything it needs until it is answered", async () => {
    const [reached, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const store = token("store").of<{ open: boolean }>();
    const notes = defineModule("notes", [
      provider({ provides: store, create: () => ({ open: true }), stop: (own) => void (own.open = false) }),
      provider({
        provides: httpRoutes,
        needs: { own: store },
        create:
          ({ own }) =>
          (app) =>
            void app.get("/", async () => {
              reached.resolve();
              await gate.promise;
              return { open: own.open };
            }),
      }),
    ]);
    const app = await testApp({ name: "notes", modules: [coreModule, httpModule, notes], config });
    const connection = new RawConnection(app.get(httpServer).port);
    connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await reached.promise;
    const stopped = app.stop();
    await until(() => app.state === "draining");
    gate.resolve();
    assert.match(await connection.ended, /\{"open":true\}$/);
    await stopped;
  });

  it("cuts off at the drain's limit what does not end, and the stop tells nothing wrong", async () => {
    const reached = Promise.withResolvers<void>();
    const hang = (): Promise<never> => {
      reached.resolve();
      return new Promise(() => {});
    };
    const stuck = defineModule("stuck", [
      provider({ provides: httpRoutes, create: () => (app) => void app.get("/", hang) }),
    ]);
    const app = await testApp({
      name: "notes",
      modules: [coreModule, httpModule, stuck],
      config: { defaults: { http: { port: 0 }, lifecycle: { drainMs: 100 } } },
    });
    const connection = new RawConnection(app.get(httpServer).port);
    connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await reached.promise;
    await app.stop();
    assert.equal(await connection.ended, "");
  });

  it("names port and variable when its port is busy, whichever section it has", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as { port: number };
    const own = httpModuleIn(httpSettingsIn("issuer", 8_082));
    const usual = testApp({ name: "a", modules, config: { defaults: { http: { port } } } });
    await assert.rejects(usual, { message: new RegExp(`port ${port} on 127\\.0\\.0\\.1 .* set PLINTH_HTTP_PORT to`) });
    const second = testApp({ name: "b", modules: [coreModule, own], config: { defaults: { issuer: { port } } } });
    await assert.rejects(second, { message: /set PLINTH_ISSUER_PORT to/ });
    await new Promise((resolve) => other.close(resolve));
  });

  it("stops in order when a route cannot be registered, and names the trouble", async () => {
    const broken = defineModule("broken", [
      provider({
        provides: httpRoutes,
        create: () => (app) => {
          app.get("/a", async () => "");
          app.get("/a", async () => "");
        },
      }),
    ]);
    const log = new MemoryLog();
    const app = createApp({
      name: "notes",
      modules: [coreModule, httpModule, broken],
      config: { environment: {}, ...config },
      logDestination: log,
    });
    await assert.rejects(app.start(), { message: /http\.server.*Method 'GET' already declared for route '\/a'/s });
  });

  it("shows the state that the health token has, not one of its own", async () => {
    await using app = await testApp({ name: "notes", modules, config });
    app.get(health).setPhase("draining");
    const response = await fetch(`http://127.0.0.1:${app.get(httpServer).port}/hello`);
    assert.deepEqual([response.status, response.headers.get("connection")], [200, "close"]);
    await response.text();
    assert.equal(currentContext(), undefined);
  });
});

describe("the settings of an HTTP server", () => {
  const { port: _port, ...others } = testSettings;

  it("have the defaults that the README tells", async () => {
    const result = await httpSettings.schema["~standard"].validate({});
    assert.deepEqual(result, { value: { ...others, port: 3_000 } });
  });

  for (const [given, field] of [
    [{ port: 65_536 }, "port"],
    [{ port: 1.5 }, "port"],
    [{ host: "" }, "host"],
    [{ deadlineMs: 0 }, "deadlineMs"],
    [{ deadlineMs: 3_600_001 }, "deadlineMs"],
    [{ maxBodyBytes: 0 }, "maxBodyBytes"],
    [{ headersTimeoutMs: 1.5 }, "headersTimeoutMs"],
    [{ headersTimeoutMs: 30_001 }, "headersTimeoutMs"],
    [{ keepAliveTimeoutMs: -1 }, "keepAliveTimeoutMs"],
    [{ accessLog: "yes" }, "accessLog"],
  ] as const) {
    it(`refuse ${JSON.stringify(given)} and name the field`, async () => {
      const { issues } = await httpSettings.schema["~standard"].validate(given);
      assert.deepEqual(
        issues?.map(({ path }) => path),
        [[field]],
      );
    });
  }
});
