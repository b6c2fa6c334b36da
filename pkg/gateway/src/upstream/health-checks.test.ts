import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, it } from "node:test";
import { FakeClock, until } from "@plinth/kernel/testing";
import { createMemoryRegistry } from "@plinth/registry";
import type { GatewayDocument } from "../config/schema.ts";
import { httpInstance, openRoute, type Scripted, startGateway } from "../testing/kit.ts";

type Service = NonNullable<GatewayDocument["services"]>[string];
type Health = Service["health"];

/** An instance that answers requests with its name, and probes as told. */
interface Patient extends Scripted {
  readonly name: string;
  /** Probes so far. */
  readonly probes: IncomingMessage[];
  /** Probes that wait for an answer. */
  readonly hanging: ServerResponse[];
  /** Undefined: it hangs. */
  probe: ((response: ServerResponse) => void) | undefined;
}

const well = (response: ServerResponse): void => void response.writeHead(204).end();
const ill = (response: ServerResponse): void => void response.writeHead(500).end("ill");

async function patient(name: string): Promise<Patient> {
  const probes: IncomingMessage[] = [];
  const hanging: ServerResponse[] = [];
  const state: { probe: Patient["probe"] } = { probe: well };
  const server = await httpInstance((request, response) => {
    if (request.url !== "/health?deep=1") {
      response.end(name);
      return;
    }
    probes.push(request);
    if (state.probe) state.probe(response);
    else {
      hanging.push(response);
      response.once("close", () => hanging.splice(hanging.indexOf(response), 1));
    }
  });
  const own = { name, probes, hanging };
  Object.defineProperty(own, "probe", {
    get: () => state.probe,
    set: (probe) => {
      state.probe = probe;
    },
  });
  return Object.defineProperties(server, Object.getOwnPropertyDescriptors(own)) as Patient;
}

const usual: NonNullable<Health> = {
  path: "/health?deep=1",
  intervalMs: 1_000,
  unhealthyIntervalMs: 500,
  timeoutMs: 200,
  fall: 2,
  rise: 2,
};

async function start(names: readonly string[], health: Partial<NonNullable<Health>> = {}, service: Service = {}) {
  const clock = new FakeClock();
  const instances = await Promise.all(names.map(patient));
  const registry = createMemoryRegistry();
  const leave = new Map<string, () => Promise<void>>();
  for (const { name: id, port } of instances) {
    const entry = await registry.register({ service: "s", id, host: "127.0.0.1", ports: { http: port } });
    leave.set(id, () => entry.deregister());
  }
  const documentOf = (more: Partial<NonNullable<Health>>, others: Service = {}): GatewayDocument => ({
    services: { s: { health: { ...usual, ...more }, balancing: { policy: "roundRobin", slowStartMs: 0 }, ...others } },
    routes: [openRoute()],
  });
  const kit = await startGateway({ document: documentOf(health, service), registry, clock });
  const url = `http://127.0.0.1:${kit.gateway.port}`;
  const ask = async (): Promise<string> => {
    const reply = await fetch(url);
    const text = await reply.text();
    return reply.status === 200 ? text : `${reply.status} ${/"reason":"(\w+)"/.exec(text)?.[1]}`;
  };
  await ask(); // whom it knows it probes
  return {
    kit,
    clock,
    instances,
    leave,
    documentOf,
    ask,
    asked: async () => {
      const seen = new Set<string>();
      for (let turn = 0; turn < 6; turn++) seen.add(await ask());
      return [...seen].toSorted().join(" ");
    },
    /** Moves time on by so much, and lets sockets do what that caused. */
    pass: async (ms: number) => {
      for (let left = ms; left > 0; left -= 50) {
        await clock.advance(Math.min(50, left));
        await new Promise((resolve) => void setTimeout(resolve, 1));
      }
    },
    reasons: () => kit.gateway.describe().services[0]?.instances.map(({ ejectedFor }) => ejectedFor),
    [Symbol.asyncDispose]: async () => {
      await kit[Symbol.asyncDispose]();
      await registry.close();
      for (const instance of instances) await instance.close();
    },
  };
}

type Running = Awaited<ReturnType<typeof start>>;

/** Moves time on until the gateway keeps out, for their probes, those named, and no others. */
async function untilOut({ kit, pass }: Running, names: readonly string[]): Promise<void> {
  await until(async () => {
    await pass(100);
    const { instances = [] } = kit.gateway.describe().services[0] ?? {};
    const out = instances.filter(({ ejectedFor }) => ejectedFor === "health_check").map(({ id }) => id);
    return out.toSorted().join() === names.join();
  });
}

describe("active health checks", { timeout: 30_000 }, () => {
  it("take an instance out after as many failures as asked, and bring it back after as many passes", async () => {
    await using test = await start(["a", "b", "c"]);
    const [a] = test.instances;
    assert.ok(a);
    await until(async () => {
      await test.pass(100);
      return test.instances.every(({ probes }) => probes.length > 0);
    });
    const [probe] = a.probes;
    assert.deepEqual([probe?.method, probe?.headers.host], ["GET", `127.0.0.1:${a.port}`]);
    assert.equal(probe?.headers["user-agent"], "plinth-gateway-health");
    const before = a.probes.length;
    a.probe = ill;
    await untilOut(test, ["a"]);
    assert.equal(a.probes.length - before, 2);
    assert.equal(await test.asked(), "b c");
    const metrics = await test.kit.metrics();
    assert.match(metrics, /gateway_upstream_probes_total\{service="s",outcome="failed"\} 2/);
    assert.match(metrics, /gateway_upstream_instances\{service="s",state="failing_probes"\} 1/);
    a.probe = well;
    const since = a.probes.length;
    await untilOut(test, []);
    assert.equal(a.probes.length - since, 2);
    assert.equal(await test.asked(), "a b c");
    const said = test.kit.log.lines.filter(({ message }) => String(message).includes("health checks"));
    assert.equal(said.length, 2);
  });

  it("are off unless asked for", async () => {
    await using test = await start(["a"], {}, { health: undefined });
    await test.pass(3_000);
    assert.equal(test.instances[0]?.probes.length, 0);
  });

  it("count a probe that hangs as failed, have one at a time, and leave nothing open", async () => {
    await using test = await start(["a", "b"]);
    const [a] = test.instances;
    assert.ok(a);
    a.probe = undefined;
    let most = 0;
    await until(async () => {
      await test.pass(100);
      most = Math.max(most, a.hanging.length);
      return test.reasons()?.[0] === "health_check";
    });
    assert.equal(most, 1);
    assert.equal(await test.asked(), "b");
    a.probe = well;
    await untilOut(test, []);
    await until(() => a.hanging.length === 0);
  });

  it("follow no redirect, read no endless body, and take the statuses asked for", async () => {
    await using test = await start(["a", "b", "c", "d"], { expectStatus: [200, 418] });
    const [a, b, c, d] = test.instances;
    assert.ok(a && b && c && d);
    let bytes = 0;
    a.probe = (response) => void response.writeHead(302, { location: "/" }).end();
    b.probe = (response) => {
      response.writeHead(200);
      const more = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(16_384))) bytes += 16_384;
        if (!response.destroyed) response.once("drain", more);
      };
      more();
    };
    c.probe = (response) => void response.writeHead(418).end();
    d.probe = (response) => response.socket?.destroy();
    await untilOut(test, ["a", "d"]);
    assert.equal(await test.asked(), "b c");
    assert.ok(bytes < 50_000_000, `${bytes} bytes of a body that has no end`);
  });

  it("let go of an instance that leaves in the middle of a probe", async () => {
    await using test = await start(["a", "b"]);
    const [a, b] = test.instances;
    assert.ok(a && b);
    a.probe = undefined;
    await until(async () => {
      await test.pass(50);
      return a.hanging.length > 0;
    });
    await test.leave.get("a")?.();
    assert.equal(await test.asked(), "b");
    await until(() => a.hanging.length === 0);
    const before = a.probes.length;
    await test.pass(2_000);
    assert.equal(a.probes.length, before);
    assert.deepEqual(test.reasons(), [undefined]);
  });

  it("bring back at once what was ejected for its requests", async () => {
    await using test = await start(
      ["a", "b"],
      {},
      { ejection: { localFailures: 1, ejectMs: 3_600_000, maxEjectMs: 3_600_000 } },
    );
    const [a] = test.instances;
    assert.ok(a);
    const { port } = a;
    await a.close();
    assert.equal(await test.asked(), "b", "those that were not sent go to the other");
    assert.deepEqual(test.reasons(), ["local_failures", undefined]);
    await using again = await httpInstance(
      (request, response) => void response.end(request.url === "/" ? "a" : ""),
      port,
    );
    assert.equal(again.port, port);
    await until(async () => {
      await test.pass(100);
      return test.reasons()?.[0] === undefined;
    });
    assert.equal(await test.asked(), "a b");
  });

  it("leave all in use where too few would be left, and none where that is not wanted", async () => {
    await using test = await start(["a", "b"]);
    for (const instance of test.instances) instance.probe = ill;
    await untilOut(test, ["a", "b"]);
    assert.equal(await test.asked(), "a b");
    assert.match(await test.kit.metrics(), /gateway_upstream_panicking\{service="s"\} 1/);
    await test.kit.gateway.reload(test.documentOf({}, { ejection: { panicRatio: 0 } }));
    assert.equal(await test.asked(), "503 no_instance", "what is known of them holds on");
    for (const instance of test.instances) instance.probe = well;
    await untilOut(test, []);
    assert.equal(await test.asked(), "a b");
  });

  it("of a document that is only there for requests under way do not begin again when instances come and go", async () => {
    await using test = await start(["a", "b"]);
    const { kit, clock, leave, instances } = test;
    const [a] = instances;
    assert.ok(a);
    let release: (() => void) | undefined;
    await using slow = await httpInstance((_request, response) => {
      release = () => response.end();
    });
    const document = test.documentOf({});
    await kit.gateway.reload({
      services: { ...document.services, t: { static: [`127.0.0.1:${slow.port}`] } },
      routes: [openRoute(), openRoute({ name: "slow", match: { path: "/slow" }, service: "t" })],
    });
    const reply = fetch(`${kit.url}/slow`);
    await until(() => release);
    await kit.gateway.reload(test.documentOf({ path: "/elsewhere" }));
    await leave.get("b")?.();
    await test.pass(2_500); // both generations see that it has gone
    const { length } = a.probes;
    await clock.advance(0);
    await test.pass(2_500);
    assert.equal(a.probes.length, length, "nobody asks by the old settings");
    release?.();
    await reply;
  });

  it("go by the settings of a reload from then on, and end with them", async () => {
    await using test = await start(["a", "b"]);
    const [a] = test.instances;
    assert.ok(a);
    a.probe = undefined;
    await until(async () => {
      await test.pass(50);
      return a.hanging.length > 0;
    });
    await test.kit.gateway.reload(test.documentOf({ path: "/elsewhere" }));
    await until(() => a.hanging.length === 0);
    const before = a.probes.length;
    await test.pass(3_000);
    assert.equal(a.probes.length, before, "nobody asks by the path before");
    assert.deepEqual(test.reasons(), [undefined, undefined]);
    await test.kit.gateway.reload({ routes: [openRoute()] });
    await test.asked();
    await test.kit.gateway.close();
    assert.ok(test.clock.pending < 3, `${test.clock.pending} timers are left`);
  });
});
