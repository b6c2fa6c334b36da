// The event loop of a service and of the gateway stands still under load: requests are refused or served by rule, nobody is
// taken for dead, and everything is as before when it goes on.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type ConsulAgent, startConsul } from "../../scripts/servers/index.ts";
import { instancesIn } from "../support/consul.ts";
import { connectGrpc, messageWithText } from "../support/grpc.ts";
import { ask } from "../support/http.ts";
import { type LoadReport, startLoad } from "../support/load.ts";
import { logOf } from "../support/platform.ts";
import { type Service, startService } from "../support/service.ts";
import { until } from "../support/until.ts";

const greet = "/plinth.examples.greeter.v1.GreeterService/Greet";
const perSecond = 200;
const unavailable = 14;

/** More than can wait at the same time in a stall of two seconds, so that requests begin when they are due. */
const connections = 2 * perSecond;

const blockFor = (ms: number, { url }: Service) => ask(`${url}/block/${ms}`, { method: "POST" });

describe("a service whose event loop is blocked for two seconds under load", () => {
  it("refuses what has waited, then serves as before; liveness and readiness answer", async () => {
    await using service = await startService("stalling-service");
    await using grpc = await connectGrpc(service.grpcAddress);
    const callOne = async (): Promise<number> => (await grpc.call(greet, messageWithText("x"))).status;
    assert.equal(await callOne(), 0);
    const load = startLoad({ url: `${service.url}/works`, connections, perSecond });
    await load.untilMore(perSecond);
    assert.deepEqual(Object.keys(load.report().statuses), ["200"]);

    await blockFor(2_000, service);
    await delay(100); // it is blocked now
    const calls = Array.from({ length: 10 }, callOne);
    const probes = await Promise.all(["/healthz", "/ready"].map((path) => ask(`${service.url}${path}`)));
    assert.deepEqual(
      probes.map(({ status }) => status),
      [200, 200],
    );
    assert.deepEqual(new Set(await Promise.all(calls)), new Set([unavailable]));
    await until(() => (load.report().statuses["503 ERR_OVERLOADED"] ?? 0) > 0, "refusals", 30_000);
    const shed = await shedIn(service);
    assert.ok(shed.http > 0, "refused over HTTP");
    assert.equal(shed.grpc, calls.length);

    // What follows is served, all of it.
    await load.untilMore(perSecond);
    const settled = await shedIn(service);
    await load.untilMore(2 * perSecond);
    const { statuses, broken, refused } = await load.stop();
    assert.deepEqual([await shedIn(service), broken, refused], [settled, [], 0]);
    assert.deepEqual(Object.keys(statuses).toSorted(), ["200", "503 ERR_OVERLOADED"]);
    assert.equal(statuses["503 ERR_OVERLOADED"], settled.http);
    assert.equal(await callOne(), 0);
  });

  it("serves all of it, late, when the limit is 0", async () => {
    await using service = await startService("stalling-service", {
      environment: { PLINTH_HTTP_MAX_LOOP_DELAY_MS: "0" },
    });
    const load = startLoad({ url: `${service.url}/works`, connections, perSecond });
    await load.untilMore(perSecond);
    await blockFor(2_000, service);
    await load.untilMore(4 * perSecond);
    const { statuses, broken } = await load.stop();
    assert.deepEqual([Object.keys(statuses), broken], [["200"], []]);
    assert.ok(load.durations().slowestMs > 1_000, "some have waited");
  });
});

// They wait most of the time, so they wait together.
describe("an event loop that stands still", { concurrency: true }, () => {
  describe("a gateway whose event loop is blocked under load", { concurrency: true }, () => {
    for (const stallMs of [2_000, 10_000]) {
      it(`for ${stallMs / 1_000} s takes none of its instances for dead, and answers as before once it goes on`, async () => {
        const instances = await Promise.all([1, 2, 3].map(startInstance));
        try {
          await using service = await startService("stalling-gateway", {
            environment: { INSTANCE_PORTS: instances.map(portOf).join(","), STALL_MS: String(stallMs) },
          });
          await service.program.untilPrinted('{"gateway"', 60_000);
          const gateway = String(logOf(service.program.stdout()).find((line) => "gateway" in line)?.["gateway"]);
          let count = 0;
          const next = () => (count++ % 5 === 0 ? { method: "POST", body: "x" } : {});
          const load = startLoad({ url: gateway, connections, perSecond, next });
          await load.untilMore(2 * perSecond);
          assert.deepEqual(Object.keys(load.report().statuses), ["200"]);

          service.program.signal("SIGUSR2");
          await delay(stallMs / 2);
          const during = load.report();
          await load.untilMore(2 * perSecond);
          assert.equal(await service.metric("gateway_upstream_instances", { state: "ejected" }), 0);
          assert.equal(await service.metric("gateway_upstream_instances", { state: "in_use" }), 3);
          const after = load.report();
          await load.untilMore(2 * perSecond);
          const end = await load.stop();
          assert.deepEqual(newStatuses(after, end), ["200"]);
          // While its loop runs late it sheds what it cannot serve in time.
          const meanwhile = newStatuses(during, after).filter((status) => status !== "503 gateway_overloaded");
          assert.deepEqual(meanwhile, ["200"]);
          // The load itself gives a request up after ten seconds.
          for (const why of end.broken) assert.match(why, /^no reply within 10000 ms/);
          assert.equal(await service.metric("gateway_upstream_instances", { state: "ejected" }), 0);
        } finally {
          for (const instance of instances) {
            instance.close();
            instance.closeAllConnections();
          }
        }
      });
    }
  });

  describe("a service in Consul whose event loop is blocked for ten seconds", () => {
    it("keeps its registration, with the settings that are the default", async () => {
      const consul: ConsulAgent = await startConsul();
      try {
        await using service = await startService("stalling-service", {
          environment: { PLINTH_CONSUL_ADDR: consul.address },
        });
        const isThere = async (): Promise<boolean> => {
          const found = (await instancesIn(consul.address)).filter((instance) => instance.service === "stalling");
          return found.length === 1 && found[0]?.isPassing === true;
        };
        await until(isThere, "registered and passing", 10_000);
        await delay(3_300); // the next heartbeat is due now, so that the agent waits for the stall and nearly a whole beat
        await blockFor(10_000, service);
        const untilMs = performance.now() + 12_000;
        while (performance.now() < untilMs) {
          assert.ok(await isThere(), "it was taken for dead");
          await delay(100);
        }
      } finally {
        await consul.stop();
      }
    });
  });
});

async function shedIn(service: Service): Promise<{ readonly http: number; readonly grpc: number }> {
  return { http: await service.metric("http_server_shed_total"), grpc: await service.metric("grpc_server_shed_total") };
}

async function startInstance(): Promise<Server> {
  const server = createServer((request, response) => {
    request.resume();
    request.once("end", () => response.end("fine"));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** The statuses that came between two reports. */
function newStatuses(before: LoadReport, after: LoadReport): string[] {
  return Object.entries(after.statuses).flatMap(([status, count]) =>
    count > (before.statuses[status] ?? 0) ? [status] : [],
  );
}
