import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { coreModule } from "@plinth/kernel";
import { testApp, until } from "@plinth/kernel/testing";
import { createMemoryRegistry, createMemoryStore, registryModuleOf } from "@plinth/registry";
import { opsListener, opsModule } from "@plinth/transport";
import { gateway, gatewayModuleOf } from "../module.ts";
import { openRoute } from "../testing/kit.ts";
import { gatewayOpsModule } from "./ops.ts";

describe("gatewayOpsModule", () => {
  it("tells operators the routes, the instances, and what becomes of a request, and no secret", async () => {
    const store = createMemoryStore();
    const registry = createMemoryRegistry({ store });
    await registry.register({ service: "s", id: "s-1", host: "127.0.0.1", ports: { http: 9 } });
    const document = { routes: [openRoute({ headers: { request: { set: { "x-key": "s3cret" } } } })] };
    await using app = await testApp({
      name: "gateway",
      modules: [
        coreModule,
        opsModule,
        registryModuleOf((context) => createMemoryRegistry({ ...context, store })),
        gatewayModuleOf(document),
        gatewayOpsModule,
      ],
      expose: [opsListener],
      config: { overrides: { gateway: { port: 0 }, ops: { port: 0 } } },
    });
    const ask = async (path: string): Promise<string> => {
      const reply = await fetch(`http://127.0.0.1:${app.get(opsListener).port}${path}`);
      return `${reply.status} ${await reply.text()}`;
    };
    const routes = await ask("/routes");
    assert.match(routes, /^200 .*"name":"all".*"setsHeaders":\["x-key"\]/);
    assert.doesNotMatch(routes, /s3cret/);
    await until(async () => (await ask("/instances")).includes("s-1"));
    assert.match(await ask("/instances"), /^200 .*"service":"s","instances":\[\{"id":"s-1".*"inFlight":0/);
    const explained = await ask("/explain?url=/a//b&header=x-a:1");
    assert.match(explained, /"path":"\/a\/b".*"outcome":\{"kind":"forward"\}/);
    assert.match(explained, /"name":"x-key","value":"\*\*\*"/);
    assert.match(await ask("/explain?url=/%252f"), /"reason":"invalid_target"/);
    for (const query of ["", "?url=", "?url=/&header=x", "?url=/&header=authorization:Bearer%20x"])
      assert.match(await ask(`/explain${query}`), /^400 .*ERR_REQUEST_REFUSED/, query);
    app.get(gateway).revocations.add({ subject: "ada", issuedBeforeMs: 2_000 });
    assert.equal(await ask("/revoked?iss=i&sub=ada&iat=1"), '200 {"revoked":true}');
    assert.equal(await ask("/revoked?iss=i&sub=ada&jti=x&iat=2"), '200 {"revoked":false}');
    for (const query of ["", "?iss=i", "?iss=i&sub=ada&iat=now"])
      assert.match(await ask(`/revoked${query}`), /^400 .*ERR_REQUEST_REFUSED/, query);
    await app.get(gateway).reload({ routes: [] });
    assert.match(await ask("/routes"), /^200 \{"routes":\[\]\}$/);
    await registry.close();
  });
});
