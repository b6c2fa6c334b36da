import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { coreModule, createApp, defineModule, provider } from "@plinth/kernel";
import { freePort, testApp, until } from "@plinth/kernel/testing";
import { gateway, gatewayModuleOf } from "@plinth/gateway";
import { createConsulRegistry, registryModule } from "@plinth/registry";
import { httpModule, httpRoutes } from "@plinth/transport";
import { type ConsulAgent, startConsul } from "../../scripts/servers/index.ts";
import { ask } from "../support/http.ts";
import { asRecord } from "../support/json.ts";

let agent: ConsulAgent;
before(async () => {
  agent = await startConsul();
});
after(() => agent.stop());

/** A service whose handler tells who served, and counts. */
function serving(name: string, port: number, served: string[]) {
  const routes = provider({
    provides: httpRoutes,
    create: () => (app) => {
      app.all("/*", async () => {
        served.push(name);
        return { name };
      });
    },
  });
  return {
    name,
    modules: [coreModule, httpModule, registryModule, defineModule("routes", [routes])],
    config: {
      defaults: {
        http: { port },
        consul: { addr: agent.address },
        registry: { ttlMs: 60_000, check: "http" as const, checkIntervalMs: 100 },
      },
    },
  };
}

async function statusOf(id: string): Promise<string> {
  return (await ask(`${agent.address}/v1/agent/health/service/id/${id}?format=text`)).text;
}

describe("the address of a dead instance that goes to another service", { timeout: 60_000 }, () => {
  it("brings that service none of its calls: its entry is critical, and what comes before is refused and tried elsewhere", async () => {
    const [own, address, other] = [await freePort(), await freePort(), await freePort()];
    const served: string[] = [];
    // What a killed process leaves: its entry, with heartbeats that are not over yet.
    const dead = createConsulRegistry({ address: agent.address, ttlMs: 60_000, check: "http", checkIntervalMs: 100 });
    const ports = { http: address };
    const ghost = { service: "notes", id: "ghost", identity: "ghost", host: "127.0.0.1", ports };
    const document = {
      routes: [{ name: "notes", match: { path: "/**" }, service: "notes", anonymous: true as const }],
    };
    await using _notes = await testApp(serving("notes", own, served));
    await using front = await testApp({
      name: "front",
      modules: [coreModule, registryModule, gatewayModuleOf(document)],
      config: { defaults: { consul: { addr: agent.address }, gateway: { port: 0 } } },
      expose: [gateway],
    });
    await dead.register(ghost, { readyPath: "/ready" });
    await using _others = await testApp(serving("others", address, served));
    assert.notEqual(other, own);
    const url = `http://127.0.0.1:${front.get(gateway).port}/`;
    let replies = 0;
    await until(
      async () => {
        for (const init of [{}, { method: "POST", body: "x" }]) {
          const reply = await fetch(url, init);
          assert.equal(reply.status, 200);
          assert.equal(asRecord(await reply.json())["name"], "notes");
          replies++;
        }
        return (await statusOf("ghost")) === "critical";
      },
      { limitMs: 20_000 },
    );
    assert.deepEqual([served.length, served.includes("others")], [replies, false]);
    const { text } = await ask(`${agent.address}/v1/agent/checks`);
    assert.match(text, /HTTP HEAD [^"]*: 421 Misdirected Request Output: "/, "with a text that never changes");
    await dead.close();
  });
});

describe("an app that has joined, and whose start comes to nothing", { timeout: 60_000 }, () => {
  for (const what of ["a later step fails", "a signal comes"]) {
    it(`is taken out of the agent when ${what}`, async () => {
      const name = `late-${what.length}`;
      const stop = new AbortController();
      const entries = async (): Promise<number> =>
        Object.values(asRecord((await ask(`${agent.address}/v1/agent/services`)).json())).filter(
          (each) => asRecord(each)["Service"] === name,
        ).length;
      let seen = 0;
      const late = provider({
        provides: httpRoutes,
        create: () => () => {},
        join: async () => {
          seen = await until(async () => (await entries()) || undefined);
          if (what === "a later step fails") throw new Error("the last step failed");
          stop.abort(new Error("SIGTERM"));
        },
      });
      const { modules, config } = serving(name, 0, []);
      const app = createApp({ name, modules: [...modules, defineModule("late", [late])], config });
      await app.start({ signal: stop.signal }).then(
        () => app.stop(),
        () => undefined,
      );
      assert.equal(seen, 1);
      assert.equal(await entries(), 0);
    });
  }
});
