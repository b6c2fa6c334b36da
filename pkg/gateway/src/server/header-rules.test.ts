import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseGatewayDocument } from "../config/document.ts";
import { signingKey, startIssuer, tokenOf } from "../testing/issuer.ts";
import { httpInstance, openRoute, rawClient, type Received, startGateway } from "../testing/kit.ts";

describe("headers of a route", () => {
  it("cannot be said behind the body in their place", async () => {
    let trailers: NodeJS.Dict<string> = {};
    await using instance = await httpInstance((request, response) => {
      request.resume().on("end", () => {
        ({ trailers } = request);
        response.end();
      });
    });
    const headers = { request: { set: { "x-org": "o" }, add: { "x-tag": "t" }, remove: ["x-gone"] } };
    await using running = await startGateway({ routes: [openRoute({ headers })] });
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send(
      "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nX-Org: mine\r\nx-tag: mine\r\nx-gone: mine\r\nx-sum: 1\r\n\r\n",
    );
    await client.matching(/^HTTP\/1\.1 200 /);
    assert.deepEqual({ ...trailers }, { "x-sum": "1" });
    client.socket.destroy();
  });

  it("are changed both ways, from the request, the route, the client and the token", async () => {
    const key = signingKey("k");
    await using issuer = await startIssuer(key);
    const seen: Received["headers"][] = [];
    await using instance = await httpInstance((request, response) => {
      seen.push(request.headersDistinct);
      response.writeHead(200, { server: "old", "x-powered-by": "y", "x-both": "service", "content-length": "0" });
      response.end();
    });
    const { anonymous: _open, ...route } = openRoute();
    await using running = await startGateway({
      document: {
        jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: issuer.url } },
        routes: [
          {
            ...route,
            auth: {},
            headers: {
              request: {
                set: { "x-org": "org-${claim.org}", "x-none": "${claim.none}", "user-agent": "plinth" },
                add: { "x-tag": "${route.name}" },
                remove: ["cookie"],
              },
              reply: {
                set: { server: "shop" },
                add: { "x-both": "${request.id}", "x-client": "${client.address}" },
                remove: ["x-powered-by"],
              },
            },
          },
        ],
      },
    });
    await running.add(instance);
    const ask = (claims: Record<string, unknown>) =>
      fetch(running.url, {
        headers: {
          authorization: `Bearer ${tokenOf(key, claims)}`,
          "x-org": "forged",
          "x-none": "forged",
          "x-tag": "own",
          cookie: "a=1",
        },
      });
    const reply = await ask({ org: "Zo\u00eb" });
    assert.equal(reply.status, 200);
    const [headers] = seen;
    assert.deepEqual(headers?.["x-org"], ["org-Zo%C3%AB"]);
    assert.equal(headers?.["x-none"], undefined);
    assert.deepEqual(headers?.["x-tag"], ["own", "all"]);
    assert.deepEqual(headers?.["user-agent"], ["plinth"]);
    assert.equal(headers?.cookie, undefined);
    assert.equal(reply.headers.get("server"), "shop");
    assert.equal(reply.headers.get("x-powered-by"), null);
    assert.equal(reply.headers.get("x-both"), `service, ${reply.headers.get("x-request-id")}`);
    assert.equal(reply.headers.get("x-client"), "127.0.0.1");

    for (const org of ["a\r\nx-admin: 1", "a\nb", "a\u0000b"]) {
      const refused = await ask({ org });
      assert.equal(refused.status, 400);
      const { reason } = (await refused.json()) as { reason: string };
      assert.equal(reason, "header_invalid");
    }
    assert.equal(seen.length, 1, "the service was not asked");
    assert.equal((await ask({ org: "b" })).status, 200, "the gateway goes on");
  });

  const refused: readonly (readonly [string, object, RegExp])[] = [
    ["one of the connection", { request: { set: { connection: "close" } } }, /connection is managed/],
    ["one that ends with it", { request: { remove: ["upgrade"] } }, /upgrade is managed/],
    ["the length of a request", { request: { set: { "content-length": "1" } } }, /content-length is managed/],
    ["the coding of a reply", { reply: { remove: ["transfer-encoding"] } }, /transfer-encoding is managed/],
    ["the length of a reply", { reply: { add: { "content-length": "1" } } }, /content-length is managed/],
    ["who the caller is", { request: { set: { "plinth-subject": "root" } } }, /plinth-subject is managed/],
    ["where it comes from", { request: { set: { "x-forwarded-for": "1" } } }, /x-forwarded-for is managed/],
    ["the Host, which rewrite.host is for", { request: { set: { host: "x" } } }, /host is managed/],
    ["a token", { request: { set: { authorization: "Bearer x" } } }, /authorization is managed/],
    ["a name with _", { request: { set: { x_a: "1" } } }, /without _/],
    ["a name in capitals", { request: { set: { "X-A": "1" } } }, /lower case/],
    ["a name that is none", { reply: { set: { "a b": "1" } } }, /lower case/],
    ["two rules for one name", { reply: { set: { a: "1" }, remove: ["a"] } }, /a has a rule already/],
    ["a line break", { reply: { set: { a: "1\r\nb: 2" } } }, /without line breaks/],
    ["an expression", { reply: { set: { a: "${process.env}" } } }, /there is no \$\{process\.env\}/],
    ["a claim without a token", { reply: { set: { a: "${claim.sub}" } } }, /no `auth`/],
  ];
  for (const [what, headers, problem] of refused) {
    it(`may not change ${what}`, () => {
      assert.throws(() => parseGatewayDocument({ routes: [openRoute({ headers })] }), {
        code: "ERR_GATEWAY_CONFIG",
        message: problem,
      });
    });
  }
});
