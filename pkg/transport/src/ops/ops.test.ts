import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, it } from "node:test";
import {
  coreModule,
  createHealth,
  createMetrics,
  defineModule,
  health as healthToken,
  healthChecks,
  metrics as metricsToken,
  provider,
  systemClock,
  token,
} from "@plinth/kernel";
import { testApp, until } from "@plinth/kernel/testing";
import { observe, parseReply, RawConnection, startHttp } from "../testing/http.ts";
import { createOpsHandler } from "./handler.ts";
import { opsListener, opsModule } from "./module.ts";

/** The same endpoints on the HTTP server of a service, and on a listener of their own. */
const places = [
  {
    name: "on the HTTP server",
    async start() {
      const health = createHealth({ clock: systemClock, intervalMs: 10, failuresToFlip: 1 });
      const metrics = createMetrics();
      const http = await startHttp({ ops: createOpsHandler({ health, metrics }) });
      health.register({ name: "fine", run: () => {} });
      const stop = (): Promise<void> => (health.close(), http.server.close());
      return { health, metrics, origin: http.origin, [Symbol.asyncDispose]: stop };
    },
  },
  {
    name: "on a listener of their own",
    async start() {
      const app = await testApp({
        name: "ops",
        modules: [coreModule, opsModule],
        config: { defaults: { ops: { port: 0 }, health: { intervalMs: 10, failuresToFlip: 1 } } },
      });
      const health = app.get(healthToken);
      health.setPhase("starting");
      const origin = `http://127.0.0.1:${app.get(opsListener).port}`;
      return { health, metrics: app.get(metricsToken), origin, [Symbol.asyncDispose]: () => app.stop() };
    },
  },
];

for (const { name, start } of places) {
  describe(`the ops endpoints ${name}`, () => {
    it("say that the process lives, whatever state it is in", async () => {
      await using place = await start();
      const { origin, health } = place;
      health.register({ name: "database", run: () => Promise.reject(new Error("down")) });
      for (const phase of ["starting", "ready", "draining", "stopped"] as const) {
        health.setPhase(phase);
        const response = await fetch(`${origin}/healthz`);
        assert.deepEqual([response.status, await response.json()], [200, { status: "pass" }]);
        assert.equal(response.headers.get("content-type"), "application/health+json");
        assert.equal(response.headers.get("cache-control"), "no-store");
      }
    });

    it("say that it is ready only when it is, and its critical checks pass", async () => {
      await using place = await start();
      const { origin, health } = place;
      const database = { isUp: true };
      health.register({ name: "database", run: () => (database.isUp ? undefined : fail(new Error("secret"))) });
      const ready = async () => {
        const response = await fetch(`${origin}/ready`);
        assert.equal(response.headers.get("content-type"), "application/health+json");
        assert.equal(response.headers.get("cache-control"), "no-store");
        const { status, state, checks } = JSON.parse(await response.text());
        assert.doesNotMatch(JSON.stringify(checks), /secret/);
        const own = checks.find(({ name }: Record<string, unknown>) => name === "database");
        return { code: response.status, state, status, own };
      };
      for (const phase of ["starting", "draining", "stopped"] as const) {
        health.setPhase(phase);
        assert.partialDeepStrictEqual(await ready(), { code: 503, state: phase, status: "fail" });
      }
      health.setPhase("ready");
      const up = await ready();
      assert.partialDeepStrictEqual(up, { code: 200, state: "ready", status: "pass", own: { status: "pass" } });
      assert.deepEqual(Object.keys(up.own), ["name", "status", "durationMs", "ageMs"]);
      health.register({ name: "cache", critical: false, run: () => Promise.reject(new Error("secret")) });
      await until(() => health.state === "degraded");
      assert.partialDeepStrictEqual(await ready(), { code: 200, state: "degraded", status: "warn" });
      database.isUp = false;
      await until(() => health.state === "failing");
      const expected = { code: 503, state: "failing", status: "fail", own: { status: "fail", output: "failed" } };
      assert.partialDeepStrictEqual(await ready(), expected);
      database.isUp = true;
      await until(() => health.state === "degraded");
      assert.equal((await ready()).code, 200);
    });

    it("show operators on this machine what is behind it, when asked for it and not through a proxy", async () => {
      await using place = await start();
      const { origin, health } = place;
      const run = (): never => fail(new Error("refused by 10.1.2.3", { cause: new Error("ECONNREFUSED") }));
      health.register({ name: "database", run });
      health.setPhase("ready");
      for (const query of ["?verbose", "?verbose=1", "?x=2&verbose=true"]) {
        const response = await fetch(`${origin}/ready${query}`);
        const body = JSON.parse(await response.text());
        assert.equal(response.status, 503);
        assert.partialDeepStrictEqual(body, { status: "fail", state: "failing", phase: "ready" });
        assert.equal(typeof body.uptimeMs, "number");
        const own = body.checks.find(({ name }: Record<string, unknown>) => name === "database");
        assert.equal(own.cause, "refused by 10.1.2.3: ECONNREFUSED");
        assert.partialDeepStrictEqual(own, { intervalMs: 10, timeoutMs: 1_000, failuresToFlip: 1, flips: 0 });
        assert.ok(Date.parse(own.since) > 0 && own.consecutiveFailures > 0);
      }
      for (const query of ["", "?", "?verbose=0", "?verbose=false", "?x=verbose", "?verbosely"]) {
        assert.doesNotMatch(await (await fetch(`${origin}/ready${query}`)).text(), /10\.1\.2\.3|uptimeMs/);
      }
      const alive = await fetch(`${origin}/healthz?verbose`);
      const { status, phase, uptimeMs, stalls } = JSON.parse(await alive.text());
      assert.deepEqual([alive.status, status, phase, typeof uptimeMs, stalls], [200, "pass", "ready", "number", 0]);
    });

    it("refuse details to what a proxy on this machine forwards, with a 403 problem that says how to get them", async () => {
      await using place = await start();
      const { origin } = place;
      for (const name of ["X-Forwarded-For", "x-forwarded-proto", "Forwarded", "x-real-ip", "Via"]) {
        for (const path of ["/ready", "/healthz"]) {
          const headers = { [name]: "127.0.0.1", authorization: "Bearer guess" };
          const response = await fetch(`${origin}${path}?verbose`, { headers });
          const problem = JSON.parse(await response.text());
          assert.deepEqual([response.status, problem.code], [403, "ERR_REQUEST_REFUSED"]);
          assert.match(problem.detail, /with the ops token .*ask without \?verbose$/);
          assert.equal((await fetch(`${origin}${path}`, { headers })).status, path === "/ready" ? 503 : 200);
        }
      }
    });

    it("refuse details to a page that has given its own name the address of this machine", async () => {
      await using place = await start();
      const ask = async (host: string): Promise<number> => {
        const connection = new RawConnection(Number(new URL(place.origin).port));
        connection.write(`GET /healthz?verbose HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
        return parseReply(await connection.ended).status;
      };
      for (const host of ["127.0.0.1", "127.0.0.1:8081", "localhost:8081", "LOCALHOST", "[::1]:8081"])
        assert.equal(await ask(host), 200, host);
      for (const host of ["rebound.example", "rebound.example:8081", "127.0.0.1.rebound.example", "localhost.example"])
        assert.equal(await ask(host), 403, host);
      assert.ok([400, 403].includes(await ask("")), "no host"); // a server of routes takes it for no request at all
    });

    it("show the metrics in the Prometheus text format", async () => {
      await using place = await start();
      const { origin, metrics } = place;
      metrics.counter({ name: "notes_total", help: "Notes." }).inc({});
      const response = await fetch(`${origin}/metrics?x=1`);
      assert.equal(response.status, 200);
      assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
      assert.match(await response.text(), /^notes_total 1$/m);
    });

    it("answer HEAD as GET, without the body", async () => {
      await using place = await start();
      const { origin } = place;
      for (const path of ["/healthz", "/ready", "/metrics"]) {
        const [head, get] = await Promise.all([
          fetch(`${origin}${path}`, { method: "HEAD" }),
          fetch(`${origin}${path}`),
        ]);
        assert.equal(head.status, get.status);
        assert.equal(await head.text(), "");
        const { length } = await get.text();
        const told = Number(head.headers.get("content-length"));
        // each tells of its own moment: an age in it may have another digit
        if (path !== "/metrics") assert.ok(told > 0 && Math.abs(told - length) < 10, `${told} of ${length}`);
      }
    });

    it("refuse every other method with a 405 problem, and other paths with a 404 problem", async () => {
      await using place = await start();
      const { origin } = place;
      for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"]) {
        const response = await fetch(`${origin}/ready`, { method });
        const problem = JSON.parse(await response.text());
        assert.deepEqual(
          [response.status, response.headers.get("allow"), problem.status, problem.code],
          [405, "GET, HEAD", 405, "ERR_METHOD_NOT_ALLOWED"],
        );
        assert.equal(response.headers.get("content-type"), "application/problem+json");
      }
      for (const path of ["/", "/ready/", "/READY", "/metrics/x", "/%72eady"]) {
        const response = await fetch(`${origin}${path}`);
        assert.deepEqual([response.status, JSON.parse(await response.text()).code], [404, "ERR_ROUTE_NOT_FOUND"]);
      }
    });

    it("answer bytes that are no HTTP with a 400 problem", async () => {
      await using place = await start();
      const { origin } = place;
      const connection = new RawConnection(Number(new URL(origin).port));
      connection.write("GARBAGE\r\n\r\n");
      const reply = parseReply(await connection.ended);
      assert.deepEqual([reply.status, JSON.parse(reply.body).code], [400, "ERR_REQUEST_MALFORMED"]);
    });
  });
}

describe("the ops endpoints of a service", () => {
  it("are unseen by access log and metrics", async () => {
    const ops = createOpsHandler({ health: createHealth({ clock: systemClock }), metrics: createMetrics() });
    await using http = await startHttp({ ops });
    for (const path of ["/healthz", "/ready", "/metrics"]) await (await http.fetch(path)).text();
    assert.deepEqual(http.lines.withMessage("request"), []);
    assert.doesNotMatch((await http.metrics.expose()).body, /http_server_request_duration_seconds_count/);
  });

  it("answer with a 500 problem without its text, and one report, when an endpoint itself fails", async () => {
    const health = createHealth({ clock: systemClock });
    const metrics = { ...createMetrics(), expose: async () => fail(new Error("secret")) };
    const { errors, reports } = await observe();
    await using http = await startHttp({ ops: createOpsHandler({ health, metrics, errors }) });
    const response = await http.fetch("/metrics");
    const text = await response.text();
    assert.deepEqual([response.status, JSON.parse(text).code], [500, "ERR_INTERNAL"]);
    assert.doesNotMatch(text, /secret/);
    const refused = await http.fetch("/ready?verbose", { headers: { via: "1.1 proxy" } });
    assert.deepEqual([refused.status, JSON.parse(await refused.text()).status], [403, 403]);
    assert.deepEqual(
      (await reports()).map(({ error, attributes }) => [error.message, attributes]),
      [["secret", { route: "/metrics" }]],
    );
    assert.equal((await http.fetch("/healthz")).status, 200);
  });

  it("answer with a 500 problem, and one report, when what an endpoint answers cannot be sent", async () => {
    const health = createHealth({ clock: systemClock });
    const metrics = { expose: async () => ({ contentType: "text/plain\r\nx-forged: 1", body: "a_total 1\n" }) };
    const { errors, reports } = await observe();
    await using http = await startHttp({ ops: createOpsHandler({ health, metrics, errors }) });
    const response = await http.fetch("/metrics");
    assert.deepEqual([response.status, response.headers.get("x-forged")], [500, null]);
    assert.equal(JSON.parse(await response.text()).code, "ERR_INTERNAL");
    assert.deepEqual(
      (await reports()).map(({ attributes }) => attributes),
      [{ route: "/metrics" }],
    );
  });
});

describe("the ops listener", () => {
  it("is not there without ops.port", async () => {
    await using app = await testApp({ name: "ops", modules: [coreModule, opsModule] });
    assert.equal(app.get(opsListener).port, undefined);
  });

  it("answers before other modules start and until their last stop hook has returned", async () => {
    const seen: (readonly [when: string, path: string, status: number])[] = [];
    let origin = "";
    const probe = async (when: string): Promise<void> => {
      for (const path of ["/healthz", "/ready", "/metrics"])
        seen.push([when, path, (await fetch(`${origin}${path}`)).status]);
    };
    const slow = token("slow").of<true>();
    const app = await testApp({
      name: "ops",
      modules: [
        coreModule,
        opsModule,
        defineModule("slow", [
          provider({
            provides: slow,
            needs: { listener: opsListener },
            create: async ({ listener }) => {
              origin = `http://127.0.0.1:${listener.port}`;
              await probe("create");
              return true as const;
            },
            start: () => probe("start"),
            drain: () => probe("drain"),
            stop: () => probe("stop"),
          }),
        ]),
      ],
      config: { defaults: { ops: { port: 0 } } },
    });
    await probe("ready");
    await app.stop();
    const expected = (["create", "start", "ready", "drain", "stop"] as const).flatMap((when) => [
      [when, "/healthz", 200],
      [when, "/ready", when === "ready" ? 200 : 503],
      [when, "/metrics", 200],
    ]);
    assert.deepEqual(seen, expected);
    await assert.rejects(fetch(`${origin}/healthz`));
  });

  it("closes with a probe that waits, which is told, and a connection kept alive, and can be closed twice", async () => {
    const never = provider({
      provides: healthChecks,
      create: () => ({ name: "hangs", timeoutMs: 60_000, run: () => new Promise<void>(() => {}) }),
    });
    const app = await testApp({
      name: "ops",
      modules: [coreModule, opsModule, defineModule("never", [never])],
      config: { defaults: { ops: { port: 0 } } },
    });
    const listener = app.get(opsListener);
    const idle = new RawConnection(listener.port ?? 0);
    idle.write("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    await idle.until("pass");
    const { promise: asked, resolve: onAsked } = Promise.withResolvers<void>();
    const health = app.get(healthToken);
    const { readiness } = health;
    health.readiness = () => (onAsked(), readiness());
    const waiting = new RawConnection(listener.port ?? 0);
    waiting.write("GET /ready HTTP/1.1\r\nHost: a\r\n\r\n");
    await asked;
    assert.equal(waiting.received, "");
    await app.stop();
    const { status, body } = parseReply(await waiting.ended);
    assert.deepEqual([status, JSON.parse(body).state], [503, "draining"]);
    await idle.ended;
    await listener.close();
  });

  it("gives details to whoever has ops.token, through any proxy, and compares all of it", async () => {
    const config = { environment: { PLINTH_OPS_TOKEN: "s3cret-s3cret" }, defaults: { ops: { port: 0 } } };
    await using app = await testApp({ name: "ops", version: "1.2.3", modules: [coreModule, opsModule], config });
    const origin = `http://127.0.0.1:${app.get(opsListener).port}`;
    const ask = (authorization: string): Promise<Response> =>
      fetch(`${origin}/ready?verbose`, { headers: { authorization, "x-forwarded-for": "203.0.113.7" } });
    for (const given of ["Bearer s3cret-s3cret", "bearer  s3cret-s3cret"]) {
      const response = await ask(given);
      const { state, version, checks } = JSON.parse(await response.text());
      assert.deepEqual([response.status, state, version], [200, "ready", "1.2.3"]);
      assert.deepEqual(
        checks.map(({ name, critical }: Record<string, unknown>) => [name, critical]),
        [
          ["event-loop", false],
          ["heap", false],
        ],
      );
    }
    const wrong = [
      "Bearer s3cret-s3cre",
      "Bearer s3cret-s3cret2",
      "Bearer ",
      "Basic s3cret-s3cret",
      "s3cret-s3cret",
      "",
    ];
    for (const given of wrong) assert.equal((await ask(given)).status, 403, given);
    assert.doesNotMatch(JSON.stringify(app.logged.lines), /s3cret-s3cret/);
  });

  it("names port and variable when its port is busy, and what had started is stopped", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as { port: number };
    const starting = testApp({
      name: "ops",
      modules: [coreModule, opsModule],
      config: { defaults: { ops: { port } } },
    });
    await assert.rejects(
      starting,
      (error: Error & { code: string; cause?: Error & { cause?: Error & { code: string } } }) => {
        assert.equal(error.code, "ERR_LIFECYCLE_START");
        assert.match(error.message, new RegExp(`port ${port} on 127\\.0\\.0\\.1 is in use .* set PLINTH_OPS_PORT`));
        assert.equal(error.cause?.cause?.code, "ERR_LISTEN_PORT_BUSY");
        return true;
      },
    );
    other.close();
  });
});

function fail(error: Error): never {
  throw error;
}
