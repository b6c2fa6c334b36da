import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { parseGatewayDocument } from "../config/document.ts";
import type { GatewayDocument } from "../config/schema.ts";
import { signingKey, tokenOf } from "../testing/issuer.ts";
import { echo, exchangeRaw, httpInstance, type Scripted, startGateway, type TestGateway } from "../testing/kit.ts";

const es = signingKey("es");
type Auth = NonNullable<GatewayDocument["routes"][number]["auth"]>;

const documentOf = (auths: Record<string, Auth>): GatewayDocument => ({
  jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: { keys: [es.jwk] } } },
  routes: Object.entries(auths).map(([name, auth]) => ({ name, match: { path: `/${name}` }, service: "s", auth })),
});

describe("the place of a token", () => {
  let instance: Scripted;
  let running: TestGateway;
  before(async () => {
    instance = await httpInstance(echo);
    running = await startGateway({
      document: documentOf({
        usual: {},
        header: { tokenFrom: { header: "x-access-token" } },
        "header-kept": { tokenFrom: { header: "x-access-token" }, forwardToken: true },
        cookie: { tokenFrom: { cookie: "session" } },
        "cookie-kept": { tokenFrom: { cookie: "session" }, forwardToken: true },
      }),
    });
    await running.add(instance);
  });
  after(async () => {
    await running[Symbol.asyncDispose]();
    await instance.close();
  });

  /** Status, reason, and the headers that the service got. */
  async function ask(path: string, ...lines: string[]) {
    const head = [`GET /${path} HTTP/1.1`, "host: a", "connection: close", ...lines];
    const reply = await exchangeRaw(running.gateway.port, `${head.join("\r\n")}\r\n\r\n`);
    const body: unknown = JSON.parse(/\r\n\r\n(\{.*\})/s.exec(reply)?.[1] ?? "{}");
    const headers: unknown = Reflect.get(Object(body), "headers");
    return {
      status: Number(reply.slice(9, 12)),
      reason: Reflect.get(Object(body), "reason") as unknown,
      got: (name: string): unknown => Reflect.get(Object(headers), name),
    };
  }

  const token = tokenOf(es);
  const other = tokenOf(es, { sub: "mallory" });

  it("may be a header of its own, which is taken out or passed on", async () => {
    const taken = await ask("header", `X-Access-Token: ${token}`, "x-other: 1");
    assert.deepEqual([taken.status, taken.got("plinth-subject")], [200, ["alice"]]);
    assert.deepEqual([taken.got("x-access-token"), taken.got("x-other")], [undefined, ["1"]]);
    const kept = await ask("header-kept", `X-Access-Token: ${token}`);
    assert.deepEqual(kept.got("x-access-token"), [token]);
  });

  it("may be a cookie, which is taken out from among the others or passed on", async () => {
    const taken = await ask("cookie", `Cookie: theme=dark; session=${token};lang=de=x; sessions=1`);
    assert.deepEqual([taken.status, taken.got("plinth-subject")], [200, ["alice"]]);
    assert.deepEqual(taken.got("cookie"), ["theme=dark; lang=de=x; sessions=1"]);
    assert.equal((await ask("cookie", `cookie: session=${token}`)).got("cookie"), undefined, "none is left");
    const kept = await ask("cookie-kept", `cookie: a=1; session=${token}`);
    assert.deepEqual([kept.status, kept.got("cookie")], [200, [`a=1; session=${token}`]]);
  });

  const refused: [what: string, path: string, lines: string[], status: number, reason: string][] = [
    ["none at all", "cookie", [], 401, "token_missing"],
    ["one in Authorization only", "cookie", [`authorization: Bearer ${token}`], 401, "token_missing"],
    ["one in Authorization only, for a header", "header", [`authorization: Bearer ${token}`], 401, "token_missing"],
    ["one in a cookie only, for Authorization", "usual", [`cookie: session=${token}`], 401, "token_missing"],
    ["a cookie of another case", "cookie", [`cookie: Session=${token}`], 401, "token_missing"],
    ["an empty cookie", "cookie", ["cookie: session="], 401, "token_invalid"],
    ["a cookie without a value", "cookie", ["cookie: session"], 401, "token_invalid"],
    ["a quoted cookie", "cookie", [`cookie: session="${token}"`], 401, "token_invalid"],
    ["a scheme before it", "header", [`x-access-token: Bearer ${token}`], 401, "token_invalid"],
    ["two in a cookie", "cookie", [`cookie: session=${token}; session=${other}`], 400, "token_ambiguous"],
    [
      "two in two lines of cookies",
      "cookie",
      [`cookie: session=${token}`, `Cookie: session=${token}`],
      400,
      "token_ambiguous",
    ],
    ["two headers", "header", [`x-access-token: ${token}`, `X-Access-Token: ${other}`], 400, "token_ambiguous"],
    ["two in one header", "header", [`x-access-token: ${token}, ${other}`], 401, "token_invalid"],
    [
      "one in Authorization as well",
      "cookie",
      [`cookie: session=${token}`, `authorization: Bearer ${other}`],
      400,
      "token_ambiguous",
    ],
    [
      "other credentials in Authorization",
      "header",
      [`x-access-token: ${token}`, "authorization: Basic eA=="],
      400,
      "token_ambiguous",
    ],
    [
      "two Authorization headers",
      "usual",
      [`authorization: Bearer ${token}`, `authorization: Bearer ${token}`],
      400,
      "duplicate_authorization",
    ],
    ["two in one Authorization", "usual", [`authorization: Bearer ${token}, ${other}`], 401, "token_invalid"],
    [
      "a header that Connection names",
      "header",
      ["connection: x-access-token", `x-access-token: ${token}`],
      401,
      "token_missing",
    ],
  ];
  for (const [what, path, lines, status, reason] of refused) {
    it(`is ${status} ${reason} for ${what}`, async () => {
      const told = await ask(path, ...lines);
      assert.deepEqual([told.status, told.reason], [status, reason]);
    });
  }

  it("cannot be two, none, or a header that means something else", () => {
    const faults: [Auth["tokenFrom"], RegExp][] = [
      [{}, /auth\.tokenFrom: expected one of `header` and `cookie`/],
      [{ header: "x-a", cookie: "a" }, /auth\.tokenFrom: expected one of/],
      [{ cookie: "a;b" }, /expected the name of a cookie/],
      ...["authorization", "cookie", "host", "connection", "plinth-subject", "x-forwarded-for", "X-Token"].map(
        (header): [Auth["tokenFrom"], RegExp] => [{ header }, /auth\.tokenFrom\.header: /],
      ),
    ];
    for (const [tokenFrom, expected] of faults)
      assert.throws(() => parseGatewayDocument(documentOf({ a: { tokenFrom } })), expected);
  });
});
