import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { coreModule, defineModule, provider, token } from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { TransportError } from "../errors.ts";
import { opsListener, opsModule, opsRoutes } from "./module.ts";

const told = token("told").of<() => void>();
const tells = defineModule("tells", [
  provider({
    provides: told,
    needs: { opsRoutes },
    create: ({ opsRoutes: routes }) =>
      routes.add({
        path: "/told",
        answer: (query) => {
          if (query.has("bad")) throw new TransportError("ERR_REQUEST_REFUSED", "invalid_argument", "ask for less");
          return { asked: query.get("a") };
        },
      }),
  }),
]);

function start(host: string) {
  return testApp({
    name: "ops",
    modules: [coreModule, opsModule, tells],
    expose: [opsListener, told],
    config: { environment: { PLINTH_OPS_TOKEN: "s3cret-s3cret" }, defaults: { ops: { port: 0, host } } },
  });
}

describe("an endpoint that a module adds", () => {
  it("answers callers on this machine where the listener is for them alone, and is gone when it is taken away", async () => {
    await using app = await start("127.0.0.1");
    const origin = `http://127.0.0.1:${app.get(opsListener).port}`;
    const reply = await fetch(`${origin}/told?a=1`);
    assert.deepEqual([reply.status, await reply.json()], [200, { asked: "1" }]);
    assert.equal(reply.headers.get("cache-control"), "no-store");
    const refused = await fetch(`${origin}/told?bad`);
    assert.deepEqual([refused.status, JSON.parse(await refused.text()).detail], [400, "ask for less"]);
    assert.equal((await fetch(`${origin}/told`, { method: "POST" })).status, 405);
    const proxied = await fetch(`${origin}/told`, { headers: { "x-forwarded-for": "203.0.113.7" } });
    assert.equal(proxied.status, 401);
    app.get(told)();
    assert.equal((await fetch(`${origin}/told`)).status, 404);
  });

  it("asks everybody for the token where others get to the listener, and tells nothing without it", async () => {
    await using app = await start("0.0.0.0");
    const url = `http://127.0.0.1:${app.get(opsListener).port}/told`;
    for (const authorization of [undefined, "Bearer s3cret-s3cre", "Basic s3cret-s3cret"]) {
      const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
      const reply = await fetch(url, { headers });
      const problem = JSON.parse(await reply.text());
      assert.deepEqual([reply.status, problem.code], [401, "ERR_UNAUTHENTICATED"], `${authorization}`);
      assert.equal(reply.headers.get("content-type"), "application/problem+json");
      assert.equal(reply.headers.get("www-authenticate"), 'Bearer realm="ops"');
      assert.equal(problem.asked, undefined);
    }
    const reply = await fetch(`${url}?a=2`, { headers: { authorization: "Bearer s3cret-s3cret" } });
    assert.deepEqual([reply.status, await reply.json()], [200, { asked: "2" }]);
  });
});
