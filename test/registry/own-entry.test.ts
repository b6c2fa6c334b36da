import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { coreModule, type AppInfo, appInfo } from "@plinth/kernel";
import { testApp, until } from "@plinth/kernel/testing";
import { createConsulRegistry, registryModule } from "@plinth/registry";
import { grpcModule } from "@plinth/transport";
import { type ConsulAgent, startConsul } from "../../scripts/servers/index.ts";
import { ask } from "../support/http.ts";
import { asRecord } from "../support/json.ts";

let agent: ConsulAgent;
before(async () => {
  agent = await startConsul();
});
after(() => agent.stop());

async function put(path: string, body?: unknown): Promise<void> {
  const init = { method: "PUT", body: JSON.stringify(body) ?? null };
  assert.equal((await fetch(`${agent.address}${path}`, init)).status, 200);
}

/** Status and text of each check of an instance, by the check's id. */
async function checksOf(id: string): Promise<Record<string, string>> {
  const all = Object.values(asRecord((await ask(`${agent.address}/v1/agent/checks`)).json())).map(asRecord);
  const own = all.filter((check) => check["ServiceID"] === id);
  return Object.fromEntries(
    own.map((check) => [String(check["CheckID"]), [check["Status"], check["Output"]].map(String).join(": ")]),
  );
}

async function portOf(id: string): Promise<unknown> {
  return asRecord((await ask(`${agent.address}/v1/agent/service/${id}`)).json())["Port"];
}

describe("an entry in a real agent", { timeout: 60_000 }, () => {
  it("is taken back from a process that writes its own under the same id, without the other's checks", async () => {
    await using registry = Object.assign(createConsulRegistry({ address: agent.address, ttlMs: 1_000 }), {
      [Symbol.asyncDispose]: () => registry.close(),
    });
    await registry.register({ service: "notes", id: "same", host: "127.0.0.1", ports: { http: 3_000 } });
    const Check = { CheckID: "theirs", Name: "theirs", TTL: "10s" };
    await put("/v1/agent/service/register", { ID: "same", Name: "others", Address: "127.0.0.1", Port: 4_000, Check });
    await until(async () => (await portOf("same")) === 3_000);
    await until(async () => Object.keys(await checksOf("same")).join() === "same:alive,same:ready");
  });

  it("stays in the maintenance that an operator has set through updates, and shows that of its owner", async () => {
    await using registry = Object.assign(createConsulRegistry({ address: agent.address, ttlMs: 1_000 }), {
      [Symbol.asyncDispose]: () => registry.close(),
    });
    const instance = { service: "notes", id: "kept", host: "127.0.0.1", ports: { http: 3_000 } };
    const registration = await registry.register(instance);
    await put("/v1/agent/service/maintenance/kept?enable=true&reason=operator");
    await registration.update({ weight: 5 });
    assert.equal((await checksOf("kept"))["_service_maintenance:kept"], "critical: ");
    await registration.maintenance(undefined);
    assert.deepEqual(await checksOf("kept"), {
      "kept:alive": "passing: heartbeats arrive",
      "kept:ready": "passing: ready",
    });
    await registration.maintenance("rebuilding");
    const checks = await checksOf("kept");
    assert.deepEqual(Object.keys(checks).toSorted(), ["_service_maintenance:kept", "kept:alive", "kept:ready"]);
    assert.equal(checks["kept:ready"], "critical: in maintenance");
  });

  it("is checked over gRPC by the id of its instance", async () => {
    await using app = await testApp({
      name: "rpc",
      modules: [coreModule, grpcModule, registryModule],
      config: {
        defaults: {
          grpc: { port: 0 },
          consul: { addr: agent.address },
          registry: { check: "grpc" as const, checkIntervalMs: 100 },
        },
      },
      expose: [appInfo],
    });
    const { instanceId }: AppInfo = app.get(appInfo);
    await until(async () =>
      (await checksOf(instanceId))[`${instanceId}:probe`]?.includes(`plinth.instance/${instanceId}`),
    );
    assert.match((await checksOf(instanceId))[`${instanceId}:probe`] ?? "", /^passing: .*success/);
  });
});
