import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createLogger, createMetrics, createTracing, type Span, type Tracing } from "@plinth/kernel";
import { MemoryLog, until } from "@plinth/kernel/testing";
import type { GatewayOptions } from "../contract.ts";
import {
  echo,
  exchangeRaw,
  httpInstance,
  rawClient,
  socketInstance,
  startGateway,
  type TestGateway,
} from "../testing/kit.ts";

/** Which method of a layer throws, as long as `now` says so. */
interface Fails {
  now: string;
}

/** The same object, whose methods throw when `fails` names them, as do those of what they return. */
function failing<T extends object>(target: T, fails: Fails): T {
  return new Proxy(target, {
    get(_target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown => {
        if (fails.now === name || (fails.now === args[0] && name === "info")) throw new Error(`${name} failed`);
        const result: unknown = Reflect.apply(value, target, args);
        return typeof result === "object" && result !== null ? failing(result, fails) : result;
      };
    },
  });
}

/** Spans that are all sampled. */
const sampled: Tracing = {
  ...createTracing(),
  startSpan: (name, options): Span =>
    createTracing().startSpan(name, {
      ...options,
      parent: { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true },
    }),
};

type Layers = (fails: Fails) => Partial<GatewayOptions>;

const tracing: Layers = (fails) => ({ tracing: failing(sampled, fails) });
const metrics: Layers = (fails) => ({ metrics: failing(createMetrics(), fails) });

/** A gateway with an instance, and the switch that breaks a layer of it. */
async function start(layers: Layers): Promise<TestGateway & { readonly fails: Fails }> {
  const fails = { now: "" };
  const instance = await httpInstance(echo);
  const running = await startGateway(layers(fails));
  await running.add(instance);
  return {
    ...running,
    fails,
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      await instance.close();
    },
  };
}

async function assertServes({ url }: TestGateway): Promise<void> {
  assert.equal((await fetch(url)).status, 200);
}

describe("the recovery of the gateway is the outermost layer", () => {
  it("so that a failure of tracing is a 500 problem with the ids and without its text, and one report", async () => {
    await using running = await start(tracing);
    running.fails.now = "startSpan";
    const response = await fetch(running.url);
    running.fails.now = "";
    const problem = JSON.parse(await response.text());
    assert.deepEqual(
      [response.status, response.headers.get("content-type"), problem.reason],
      [500, "application/problem+json", "gateway_error"],
    );
    assert.doesNotMatch(JSON.stringify(problem), /startSpan/);
    await until(() => (running.reports.length > 0 ? true : undefined));
    const [report, ...others] = running.reports;
    assert.deepEqual(
      [report?.origin, report?.traceId, report?.requestId, others],
      ["request", problem.traceId, response.headers.get("x-request-id"), []],
    );
    await assertServes(running);
  });

  for (const [what, layers, method] of [
    ["the end of the span", tracing, "end"],
    ["an attribute of the span", tracing, "setAttribute"],
    ["metrics", metrics, "observe"],
  ] as const) {
    it(`so that a failure of ${what} ends no process, and is reported`, async () => {
      await using running = await start(layers);
      running.fails.now = method;
      const response = await fetch(running.url);
      await response.text();
      await until(() => (running.reports.length > 0 ? true : undefined));
      running.fails.now = "";
      assert.ok(running.reports.every(({ error }) => error.message === `${method} failed`));
      await assertServes(running);
      await until(async () => ((await running.lines(2)).length >= 2 ? true : undefined));
    });
  }

  it("so that a failure of the access log takes no reply, and is one report", async () => {
    const fails = { now: "" };
    const log = await createLogger({ destination: new MemoryLog(), level: "info" });
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ log: failing(log, fails) });
    await running.add(instance);
    fails.now = "request";
    assert.equal((await fetch(running.url)).status, 200);
    await until(() => (running.reports.length > 0 ? true : undefined));
    fails.now = "";
    assert.equal(running.reports.length, 1);
    await assertServes(running);
  });

  it("so that a failure behind a reply that is under way puts nothing into it, and ends its connection after it", async () => {
    const fails = { now: "" };
    let finish = (): void => undefined;
    await using instance = await socketInstance((socket) => {
      socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\npart"));
      finish = () => void socket.write("rest");
    });
    await using running = await startGateway(tracing(fails));
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.matching(/part$/);
    fails.now = "startSpan";
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2));
    finish();
    assert.match(await client.toEnd(), /^HTTP\/1\.1 200 [^]*\r\n\r\npartrestHTTP\/1\.1 500 (?:(?!HTTP\/1)[^])*$/);
    fails.now = "";
    await until(() => (running.reports.length > 0 ? true : undefined));
    assert.equal(running.reports.length, 1);
    assert.equal((await running.lastLine())["status"], 200);
  });

  it("so that a failure while bytes that are no request are refused ends their connection, and nothing else", async () => {
    await using running = await start(metrics);
    running.fails.now = "inc";
    assert.match(await exchangeRaw(running.gateway.port, "no http\r\n\r\n"), /^$|^HTTP\/1\.1 500 /);
    running.fails.now = "";
    await until(() => (running.reports.length > 0 ? true : undefined));
    assert.equal(running.reports.length, 1);
    await assertServes(running);
  });
});
