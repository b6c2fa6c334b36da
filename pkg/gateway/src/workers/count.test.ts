import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { gatewayWorkersOf } from "./count.ts";

describe("gatewayWorkersOf", () => {
  const folder = mkdtempSync(join(tmpdir(), "plinth-workers-"));
  after(() => rmSync(folder, { recursive: true }));
  const routes = join(folder, "gateway.yaml");
  const countOf = (text: string, workers?: string): number => {
    writeFileSync(routes, text);
    return gatewayWorkersOf({ environment: { PLINTH_GATEWAY_WORKERS: workers }, routes, processors: 6 });
  };

  it("takes the variable, else the document, else one process", () => {
    assert.equal(countOf("workers: 3", "2"), 2);
    assert.equal(countOf("workers: 3"), 3);
    assert.equal(countOf("workers: auto"), 6);
    assert.equal(countOf("routes: []", "auto"), 6);
    assert.equal(countOf("routes: []"), 1);
    assert.equal(countOf("workers: 3", ""), 3);
  });

  it("leaves the faults of a file to the start, and asks no Consul", () => {
    assert.equal(countOf("workers: [", undefined), 1);
    assert.equal(gatewayWorkersOf({ environment: {}, routes: "consul:gateway" }), 1);
    assert.equal(gatewayWorkersOf({ environment: { PLINTH_GATEWAY_ROUTES: join(folder, "none.yaml") } }), 1);
    assert.equal(gatewayWorkersOf({ environment: {} }), 1);
  });

  for (const wrong of ["0", "1025", "many", "-1", "2.5"])
    it(`refuses ${wrong}, and says where it stands`, () => {
      const code = "ERR_GATEWAY_CONFIG";
      assert.throws(() => countOf("routes: []", wrong), { code, message: /PLINTH_GATEWAY_WORKERS/ });
      assert.throws(() => countOf(`workers: ${wrong}`), { code, message: /gateway\.yaml/ });
    });
});
