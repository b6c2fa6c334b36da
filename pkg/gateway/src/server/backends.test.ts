import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseGatewayDocument } from "../config/document.ts";
import { httpInstance, openRoute, type Scripted, startGateway } from "../testing/kit.ts";
import { signingKey, startIssuer, tokenOf } from "../testing/issuer.ts";

const named = (name: string): Promise<Scripted> =>
  httpInstance((_request, response) => {
    response.end(name);
  });

describe("backends of a route", () => {
  it("share the requests by weight, by service and by version", async () => {
    await using one = await named("1.4");
    await using two = await named("2.0");
    await using other = await named("other");
    await using running = await startGateway({
      routes: [
        openRoute({
          backends: [
            { version: "1.*", weight: 0 },
            { version: "2.*", weight: 3 },
          ],
        }),
        openRoute({
          name: "both",
          match: { path: "/both" },
          backends: [
            { version: "1.4", weight: 1 },
            { service: "t", weight: 1 },
          ],
        }),
      ],
    });
    const at = { host: "127.0.0.1", service: "s" };
    await running.registry.register({ ...at, id: "s-old", version: "1.4", ports: { http: one.port } });
    await running.registry.register({ ...at, id: "s-new", version: "2.0", ports: { http: two.port } });
    await running.registry.register({ ...at, id: "t-new", service: "t", ports: { http: other.port } });
    const ask = async (path: string) => (await fetch(running.url + path)).text();
    for (let turn = 0; turn < 5; turn++) assert.equal(await ask("/"), "2.0");
    const seen = new Set<string>();
    for (let turn = 0; turn < 200 && seen.size < 2; turn++) seen.add(await ask("/both"));
    assert.deepEqual([...seen].toSorted(), ["1.4", "other"]);
    assert.match(await running.metrics(), /gateway_upstream_attempts_total\{service="s@2\.\*",outcome="reply"\} 5/);
    assert.equal((await running.lines(1))[0]?.upstream, "s@2.*");
  });

  it("pass one over that has no instance, and answer 503 when none has", async () => {
    await using one = await named("one");
    await using running = await startGateway({
      routes: [
        openRoute({
          backends: [
            { version: "2", weight: 1_000_000 },
            { version: "1", weight: 1 },
          ],
        }),
      ],
    });
    const none = await fetch(running.url);
    assert.equal(none.status, 503);
    assert.equal(((await none.json()) as { reason: string }).reason, "no_instance");
    const ports = { http: one.port };
    await running.registry.register({ service: "s", id: "s-1", version: "1", host: "127.0.0.1", ports });
    assert.equal(await (await fetch(running.url)).text(), "one");
  });

  it("keep a caller by header, cookie or subject", async () => {
    const key = signingKey("k");
    await using issuer = await startIssuer(key);
    await using one = await named("one");
    await using two = await named("two");
    const backends = [{ weight: 1 }, { service: "t", weight: 1 }];
    const { anonymous: _open, ...closed } = openRoute();
    await using running = await startGateway({
      document: {
        jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: issuer.url } },
        routes: [
          openRoute({ name: "header", match: { path: "/header" }, backends, stickBy: { header: "x-user" } }),
          openRoute({ name: "cookie", match: { path: "/cookie" }, backends, stickBy: { cookie: "sid" } }),
          { ...closed, name: "subject", match: { path: "/subject" }, auth: {}, backends, stickBy: "subject" },
        ],
      },
    });
    await running.add(one);
    await running.add(two, "t");
    const ask = async (path: string, headers: Record<string, string>) =>
      (await fetch(running.url + path, { headers })).text();
    const ways: readonly (readonly [string, (user: string) => Record<string, string>])[] = [
      ["/header", (user) => ({ "x-user": user })],
      ["/cookie", (user) => ({ cookie: `a=b; sid=${user}; xsid=other${Math.random()}` })],
      ["/subject", (user) => ({ authorization: `Bearer ${tokenOf(key, { sub: user })}` })],
    ];
    for (const [path, headersOf] of ways) {
      const seen = new Set<string>();
      for (let user = 0; user < 16; user++) {
        const first = await ask(path, headersOf(`user-${user}`));
        seen.add(first);
        assert.equal(await ask(path, headersOf(`user-${user}`)), first, `${path} of user ${user}`);
      }
      assert.equal(seen.size, 2, `${path}: both have callers`);
    }
  });

  const refused: readonly (readonly [string, object, RegExp])[] = [
    ["no weight at all", { backends: [{ weight: 0 }] }, /weight above 0/],
    ["one twice", { backends: [{ weight: 1 }, { service: "s", weight: 1 }] }, /twice/],
    ["a subject without a token", { backends: [{ weight: 1 }], stickBy: "subject" }, /without `auth`/],
    ["nothing to stay with", { stickBy: { cookie: "a" } }, /no `backends`/],
    ["a version that is none", { backends: [{ version: "*2", weight: 1 }] }, /expected a version/],
  ];
  for (const [what, more, problem] of refused) {
    it(`may not be ${what}`, () => {
      assert.throws(() => parseGatewayDocument({ routes: [openRoute(more)] }), { message: problem });
    });
  }
});
