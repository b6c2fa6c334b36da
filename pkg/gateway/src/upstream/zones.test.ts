import assert from "node:assert/strict";
import { it } from "node:test";
import { createMemoryRegistry } from "@plinth/registry";
import { httpInstance, startGateway } from "../testing/kit.ts";

const saying = (text: string): ReturnType<typeof httpInstance> =>
  httpInstance((_request, response) => response.end(text));

it("stays in its zone while that has instances, and sends to those that warn as to any other", async () => {
  await using near = await saying("near");
  await using far = await saying("far");
  const registry = createMemoryRegistry();
  const at = (id: string, port: number, zone: string) => ({
    service: "s",
    id,
    zone,
    host: "127.0.0.1",
    ports: { http: port },
  });
  const own = await registry.register(at("near", near.port, "z1"), { readiness: () => "warning" });
  await registry.register(at("far", far.port, "z2"));
  await using test = await startGateway({ registry, settings: { preferZone: { zone: "z1" } } });
  const ask = async (): Promise<string> => (await fetch(`http://127.0.0.1:${test.gateway.port}/`)).text();
  const answers = async (): Promise<string[]> => [...new Set(await Promise.all(Array.from({ length: 12 }, ask)))];
  assert.deepEqual(await answers(), ["near"]);
  await own.maintenance("upgrade");
  assert.deepEqual(await answers(), ["far"]);
  await own.maintenance(undefined);
  assert.deepEqual(await answers(), ["near"]);
  await registry.close();
});
