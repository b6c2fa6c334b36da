import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError, currentContext } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import type { AuthClient, AuthzClient, CheckItem, Introspection } from "@plinth/services";
import type { GatewayDocument } from "../config/schema.ts";
import { signingKey, tokenOf } from "../testing/issuer.ts";
import { Introspection as TokenQuestions } from "./introspection.ts";
import { echo, httpInstance, openRoute, type Received, startGateway } from "../testing/kit.ts";

const key = signingKey("one");
const { anonymous: _open, ...route } = openRoute();

function documentOf(
  auth: NonNullable<GatewayDocument["routes"][number]["auth"]>,
  more: Partial<GatewayDocument> = {},
): GatewayDocument {
  return {
    jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: { keys: [key.jwk] } } },
    routes: [{ ...route, match: { path: ["/notes/:id", "/old/:kind/:id"] }, auth }],
    ...more,
  };
}

type Ask = Parameters<AuthClient["introspect"]>;

/** Auth and Authz that say what they are told to, and remember what they were asked. */
function others() {
  const asked: { readonly introspect: Ask[]; readonly check: CheckItem[]; readonly spans: unknown[] } = {
    introspect: [],
    check: [],
    spans: [],
  };
  const say = {
    introspect: async (): Promise<Introspection> => ({ active: false }),
    check: async (): Promise<boolean> => false,
  };
  const auth: Pick<AuthClient, "introspect"> = {
    introspect: (...ask) => {
      asked.introspect.push(ask);
      return say.introspect();
    },
  };
  const authz: Pick<AuthzClient, "check"> = {
    check: async (item) => {
      const { consistency: _any, ...question } = item;
      asked.check.push(question);
      asked.spans.push(currentContext()?.requestId);
      return { allowed: await say.check(), consistencyToken: "1" };
    },
  };
  return { asked, say, authClients: { auth, authz } };
}

const inAnHour = (clock: { now(): number }): Date => new Date(clock.now() + 3_600_000);

function active(clock: { now(): number }, more: { kind?: "access" | "refresh"; expiresAt?: Date } = {}): Introspection {
  return {
    active: true,
    kind: "access",
    subject: "ada",
    audiences: ["test"],
    scopes: ["notes:read"],
    issuer: "auth",
    issuedAt: new Date(clock.now()),
    expiresAt: inAnHour(clock),
    ...more,
  };
}

async function start(document: GatewayDocument, { authClients }: ReturnType<typeof others>, clock?: FakeClock) {
  const running = await startGateway({ document, authClients, ...(clock && { clock }) });
  const instance = await httpInstance(echo);
  await running.add(instance);
  const ask = async (path: string, token?: string) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const reply = await fetch(`${running.url}${path}`, { headers });
    const body = (await reply.json()) as Partial<Received> & { readonly reason?: string };
    return {
      status: reply.status,
      reason: body.reason,
      headers: body.headers,
      challenge: reply.headers.get("www-authenticate"),
    };
  };
  return {
    running,
    ask,
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      await instance.close();
    },
  };
}

const unavailable = () => AppError.unavailable("ERR_RPC_UNAVAILABLE", "nobody there");

describe("a route whose tokens Auth is asked about", () => {
  it("takes a token that is no JWT as Auth's word has it, and tells the service whose it is", async () => {
    const clock = new FakeClock();
    const set = others();
    set.say.introspect = async () => active(clock);
    await using kit = await start(
      documentOf({ introspect: "instead", scopes: ["notes:read"] }, { jwt: {} }),
      set,
      clock,
    );
    const { status, headers } = await kit.ask("/notes/1", "opaque-1");
    assert.equal(status, 200);
    assert.deepEqual(
      ["plinth-subject", "plinth-scopes", "plinth-issuer", "authorization"].map((name) => headers?.[name]),
      [["ada"], ["notes:read"], ["auth"], undefined],
    );
    assert.deepEqual(set.asked.introspect, [[{ token: "opaque-1", audience: undefined }, { timeoutMs: 500 }]]);
  });

  it("asks once for as long as the answer counts, and for requests at the same time", async () => {
    const clock = new FakeClock();
    const set = others();
    const { promise, resolve } = Promise.withResolvers<Introspection>();
    set.say.introspect = () => promise;
    await using kit = await start(documentOf({ introspect: "instead" }), set, clock);
    const both = Promise.all([kit.ask("/notes/1", "opaque"), kit.ask("/notes/2", "opaque")]);
    await until(() => set.asked.introspect[0]);
    resolve(active(clock));
    assert.deepEqual(
      (await both).map(({ status }) => status),
      [200, 200],
    );
    assert.equal((await kit.ask("/notes/1", "opaque")).status, 200);
    assert.equal(set.asked.introspect.length, 1);
    set.say.introspect = async () => ({ active: false });
    await clock.advance(5_000);
    const late = await kit.ask("/notes/1", "opaque");
    assert.deepEqual([late.status, late.reason], [401, "token_invalid"]);
    assert.match(late.challenge ?? "", /error="invalid_token"/);
    assert.equal((await kit.running.lastLine()).auth, "inactive");
  });

  it("does not keep an answer longer than its token lasts", async () => {
    const clock = new FakeClock();
    const set = others();
    set.say.introspect = async () => active(clock, { expiresAt: new Date(clock.now() + 1_000) });
    await using kit = await start(documentOf({ introspect: "instead" }), set, clock);
    await kit.ask("/notes/1", "opaque");
    await clock.advance(1_000);
    await kit.ask("/notes/1", "opaque");
    assert.equal(set.asked.introspect.length, 2);
  });

  it("takes no refresh token, none that has expired by our clock, and asks about no text that can be none", async () => {
    const clock = new FakeClock();
    const set = others();
    await using kit = await start(documentOf({ introspect: "instead" }), set, clock);
    set.say.introspect = async () => active(clock, { kind: "refresh" });
    assert.equal((await kit.ask("/notes/1", "refresh")).reason, "token_invalid");
    set.say.introspect = async () => active(clock, { expiresAt: new Date(clock.now()) });
    assert.equal((await kit.ask("/notes/1", "old")).reason, "token_invalid");
    assert.equal((await kit.ask("/notes/1", "a,b")).reason, "token_invalid");
    assert.equal((await kit.ask("/notes/1")).reason, "token_missing");
    assert.equal(set.asked.introspect.length, 2);
  });

  it("asks about a valid token besides, and not about one that is not", async () => {
    const set = others();
    set.say.introspect = async () => ({ active: false });
    await using kit = await start(documentOf({ introspect: "also" }), set);
    assert.equal((await kit.ask("/notes/1", tokenOf(key))).reason, "token_invalid");
    assert.equal((await kit.ask("/notes/1", `${tokenOf(key)}x`)).reason, "token_invalid");
    assert.equal(set.asked.introspect.length, 1);
    set.say.introspect = async () => active({ now: () => Date.now() });
    const { status, headers } = await kit.ask("/notes/1", tokenOf(key, { sub: "bob" }));
    assert.deepEqual([status, headers?.["plinth-subject"]], [200, ["bob"]]);
  });

  for (const [tokenFrom, headers] of [
    [{ header: "x-access-token" }, (token: string) => ({ "x-access-token": token })],
    [{ cookie: "session" }, (token: string) => ({ cookie: `a=b; session=${token}` })],
  ] as const) {
    it(`asks about a token from where the route looks for it: ${Object.keys(tokenFrom)[0]}`, async () => {
      const set = others();
      set.say.introspect = async () => active({ now: () => Date.now() });
      for (const [introspect, token] of [
        ["instead", "opaque"],
        ["also", tokenOf(key)],
      ] as const) {
        await using kit = await start(documentOf({ introspect, tokenFrom }), set);
        const reply = await fetch(`${kit.running.url}/notes/1`, { headers: headers(token) });
        assert.equal(reply.status, 200, introspect);
        assert.equal(set.asked.introspect.at(-1)?.[0].token, token);
      }
    });
  }

  it("does not ask for who is over a limit that needs no caller, and counts a request once", async () => {
    const set = others();
    set.say.introspect = async () => active({ now: () => Date.now() });
    const rateLimit = { limit: 2, windowMs: 3_600_000, by: "address" } as const;
    const of = (auth: NonNullable<GatewayDocument["routes"][number]["auth"]>, by: "address" | "subject") =>
      documentOf(auth, {
        routes: [{ ...route, match: { path: "/notes/:id" }, auth, rateLimit: { ...rateLimit, by } }],
      });
    {
      await using kit = await start(of({ introspect: "instead" }, "address"), set);
      const statuses = [];
      for (const token of ["a", "b", "c", "d"]) statuses.push((await kit.ask("/notes/1", token)).status);
      assert.deepEqual(statuses, [200, 200, 429, 429]);
      assert.equal(set.asked.introspect.length, 2);
    }
    await using kit = await start(of({ introspect: "instead" }, "subject"), set);
    const reasons = [];
    for (const token of ["a", "b", "c"]) reasons.push((await kit.ask("/notes/1", token)).reason);
    assert.deepEqual(reasons, [undefined, undefined, "rate_limited"], "one by subject needs the answer first");
    assert.equal(set.asked.introspect.length, 5);
  });

  it("asks fifty questions for one address at a time and no more, while those of others are asked", async () => {
    const clock = new FakeClock();
    const set = others();
    const answers: ((answer: Introspection) => void)[] = [];
    set.say.introspect = () => new Promise((resolve) => answers.push(resolve));
    const config = { audience: undefined, timeoutMs: 500, cacheMs: 0, subjectType: "user" };
    const introspection = new TokenQuestions({ client: set.authClients.auth, clock, config });
    const asked = Array.from({ length: 50 }, (_, at) => introspection.ask(`t${at}`, "2001:db8::1"));
    assert.equal(introspection.ask("more", "2001:db8::2"), "busy", "the same /64");
    assert.equal(introspection.ask("t0", "2001:db8::2"), asked[0], "what is asked already is waited for");
    const other = introspection.ask("more", "192.0.2.1");
    assert.equal(set.asked.introspect.length, 51);
    for (const answer of answers) answer({ active: false });
    assert.deepEqual([...new Set(await Promise.all([...asked, other]))], [undefined]);
    assert.notEqual(introspection.ask("more", "2001:db8::2"), "busy", "when the answers have come there is room again");
    for (const answer of answers) answer({ active: false });
  });

  it("lets nobody through while Auth does not answer, and says so", async () => {
    const set = others();
    set.say.introspect = () => Promise.reject(unavailable());
    await using kit = await start(documentOf({ introspect: "instead" }), set);
    const { status, reason } = await kit.ask("/notes/1", "opaque");
    assert.deepEqual([status, reason], [503, "auth_unavailable"]);
    assert.equal((await kit.running.lastLine()).auth, "ERR_RPC_UNAVAILABLE");
    await kit.ask("/notes/1", "opaque");
    assert.equal(set.asked.introspect.length, 2, "a failure is not kept");
  });

  it("answers a fault of the client's with 500, and reports it", async () => {
    const set = others();
    set.say.introspect = () => Promise.reject(new TypeError("broken"));
    await using kit = await start(documentOf({ introspect: "instead" }), set);
    assert.equal((await kit.ask("/notes/1", "opaque")).status, 500);
    assert.equal(kit.running.reports.length, 1);
  });
});

describe("a route whose callers Authz is asked about", () => {
  const authorize = { permission: "notes.read", resource: { type: "note", id: ":id" } };

  it("lets those through whom it permits, asked by subject and segment of the path, within the request", async () => {
    const set = others();
    set.say.check = async () => true;
    await using kit = await start(documentOf({ authorize }), set);
    const token = tokenOf(key);
    const replies = [await kit.ask("/notes/n%3A7", token), await kit.ask("/old/text/9", token)];
    assert.deepEqual(
      replies.map(({ status }) => status),
      [200, 200],
    );
    const subject = { type: "user", id: "alice" };
    assert.deepEqual(set.asked.check, [
      { subject, resource: { type: "note", id: "n:7" }, permission: "notes.read" },
      { subject, resource: { type: "note", id: "9" }, permission: "notes.read" },
    ]);
    assert.deepEqual(
      set.asked.spans,
      replies.map(({ headers }) => headers?.["x-request-id"]?.[0]),
    );
  });

  it("refuses others with 403, and asks anew each time", async () => {
    const set = others();
    await using kit = await start(
      documentOf({ authorize: { relation: "owner", resource: { type: "note", id: "all" } } }),
      set,
    );
    const { status, reason, challenge } = await kit.ask("/notes/1", tokenOf(key));
    assert.deepEqual([status, reason], [403, "permission_denied"]);
    assert.match(challenge ?? "", /insufficient_scope/);
    set.say.check = async () => true;
    assert.equal((await kit.ask("/notes/1", tokenOf(key))).status, 200);
    assert.deepEqual(
      set.asked.check.map(({ relation, resource }) => [relation, resource.id]),
      [
        ["owner", "all"],
        ["owner", "all"],
      ],
    );
  });

  it("does not ask about what can be no id, nor about a caller whom the token's scopes refuse", async () => {
    const set = others();
    set.say.check = async () => true;
    await using kit = await start(documentOf({ authorize, scopes: ["notes:admin"] }), set);
    assert.equal((await kit.ask("/notes/1", tokenOf(key))).reason, "scope_missing");
    const admin = tokenOf(key, { scope: "notes:admin" });
    assert.equal((await kit.ask("/notes/a%20b", admin)).reason, "permission_denied");
    assert.equal(
      (await kit.ask("/notes/1", tokenOf(key, { scope: "notes:admin", sub: "a b" }))).reason,
      "permission_denied",
    );
    assert.equal(set.asked.check.length, 0);
  });

  it("lets nobody through while it does not answer", async () => {
    const set = others();
    set.say.check = () => Promise.reject(unavailable());
    await using kit = await start(documentOf({ authorize }), set);
    const { status, reason } = await kit.ask("/notes/1", tokenOf(key));
    assert.deepEqual([status, reason], [503, "authz_unavailable"]);
    assert.equal((await kit.running.lastLine()).auth, "ERR_RPC_UNAVAILABLE");
  });

  it("is cancelled with its request", async () => {
    const set = others();
    let signal: AbortSignal | undefined;
    const authClients = {
      authz: {
        check: async (_item: unknown, options?: { readonly signal?: AbortSignal | undefined }) => {
          signal = options?.signal;
          const { promise, reject } = Promise.withResolvers<never>();
          signal?.addEventListener("abort", () => reject(AppError.cancelled("ERR_RPC_CANCELLED", "cancelled")));
          return promise;
        },
      },
    };
    await using kit = await start(documentOf({ authorize }), {
      ...set,
      authClients: { ...set.authClients, ...authClients },
    });
    const leaving = new AbortController();
    const headers = { authorization: `Bearer ${tokenOf(key)}` };
    const asked = fetch(`${kit.running.url}/notes/1`, { headers, signal: leaving.signal });
    await until(() => signal);
    leaving.abort();
    await assert.rejects(asked, { name: "AbortError" });
    const [line] = await kit.running.lines(1);
    assert.deepEqual([line?.reason, signal?.aborted], ["client_gone", true]);
    assert.deepEqual(kit.running.reports, []);
  });
});

describe("a document whose routes ask Auth and Authz", () => {
  it("is refused where there are no clients of them, at the start and at a reload", async () => {
    const document = documentOf({
      introspect: "also",
      authorize: { permission: "p", resource: { type: "note", id: "1" } },
    });
    const expected =
      /routes\.0\.auth\.introspect: asks Auth.*gatewayServicesModule.*\n.*routes\.0\.auth\.authorize: asks Authz/;
    await assert.rejects(startGateway({ document }), expected);
    await using running = await startGateway();
    await assert.rejects(running.gateway.reload(document), expected);
  });

  for (const [what, auth, expected] of [
    [
      "both permission and relation",
      { authorize: { permission: "a", relation: "b", resource: { type: "t", id: "1" } } },
      /authorize: expected one of/,
    ],
    ["neither", { authorize: { resource: { type: "t", id: "1" } } }, /authorize: expected one of/],
    [
      "a segment that one path lacks",
      { authorize: { permission: "a", resource: { type: "t", id: ":kind" } } },
      /resource\.id: the path \/notes\/:id has no ":kind"/,
    ],
    [
      "claims of Auth's word",
      { introspect: "instead", claims: { claim: "a", equals: 1 } },
      /auth\.claims: Auth tells no claims/,
    ],
    ["roles of Auth's word", { introspect: "instead", roles: ["a"] }, /auth\.roles: Auth tells no roles/],
  ] satisfies [string, NonNullable<GatewayDocument["routes"][number]["auth"]>, RegExp][]) {
    it(`is refused with ${what}`, async () => {
      const { authClients } = others();
      await assert.rejects(startGateway({ document: documentOf(auth), authClients }), expected);
    });
  }

  it("keeps what was said of tokens over a reload that leaves the rules as they were", async () => {
    const clock = new FakeClock();
    const set = others();
    set.say.introspect = async () => active(clock);
    const document = documentOf({ introspect: "instead" });
    await using kit = await start(document, set, clock);
    await kit.ask("/notes/1", "opaque");
    await kit.running.gateway.reload({ ...document, securityHeaders: true });
    await kit.ask("/notes/1", "opaque");
    assert.equal(set.asked.introspect.length, 1);
    await kit.running.gateway.reload({ ...document, authServices: { cacheMs: 1_000 } });
    await kit.ask("/notes/1", "opaque");
    assert.equal(set.asked.introspect.length, 2);
  });
});
