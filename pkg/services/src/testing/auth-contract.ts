import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";
import { authErrors } from "../auth/errors.ts";
import type { AuthClient, PublicJwk } from "../auth/types.ts";
import { sessionId, type UserId, userId } from "../ids.ts";
import { allOf, type ContractCase, failsWith, freshName } from "./contract.ts";

export interface AuthContractOptions {
  /** The client under test, asked for by each case. Its service may be used by others, but its keys are rotated. */
  readonly client: () => AuthClient;
  /** Makes a user with a password. */
  readonly newUser: () => Promise<{ readonly userId: UserId; readonly login: string; readonly password: string }>;
  readonly disableUser: (userId: UserId) => Promise<unknown>;
  /** A token for one login of a user. */
  readonly loginToken: (userId: UserId) => string | Promise<string>;
  /** A service that is known, with two scopes at least. */
  readonly service: { readonly clientId: string; readonly clientSecret: string; readonly scopes: readonly string[] };
}

/** What every service and client of `plinth.auth.v1` does, errors included. */
export function authContract(options: AuthContractOptions): readonly ContractCase[] {
  const { client, newUser, disableUser, loginToken, service } = options;
  const fails = (work: Promise<unknown>, code: string) => failsWith(work, code, authErrors);
  const logIn = async () => {
    const user = await newUser();
    return { user, ...(await client().loginWithPassword(user)) };
  };
  const refreshOf = ({ refreshToken }: { readonly refreshToken?: string | undefined }): string => refreshToken ?? "";
  const isActive = async (token: string) => (await client().introspect({ token })).active;
  return [
    {
      name: "begins a session by login and password, with tokens that are what they say",
      run: async () => {
        const { userId: id, login, password } = await newUser();
        const from = { address: "192.0.2.1", name: "Firefox" };
        const request = { login: login.toUpperCase(), password, client: from };
        const { tokens, session } = await client().loginWithPassword(request);
        assert.deepEqual([session.userId, session.client, session.loginMethod], [id, from, "password"]);
        assert.deepEqual(await client().getSession(session.sessionId), session);
        const found = await client().introspect({ token: tokens.accessToken });
        assert.ok(found.active);
        const { issuer, audiences } = await client().getIssuer();
        assert.deepEqual(
          [found.kind, found.subject, found.sessionId, found.issuer, found.audiences, found.scopes],
          ["access", id, session.sessionId, issuer, [audiences[0]], tokens.scopes],
        );
        assert.deepEqual(found.expiresAt, tokens.accessExpiresAt);
        const refresh = await client().introspect({ token: refreshOf(tokens) });
        assert.ok(refresh.active && refresh.kind === "refresh" && refresh.subject === id);
      },
    },
    {
      name: "tells nobody whether it was the login or the password, and of disabled users only those who know the password",
      run: async () => {
        const user = await newUser();
        const wrong = await fails(client().loginWithPassword({ ...user, password: "wrong" }), "ERR_AUTH_CREDENTIALS");
        const nobody = client().loginWithPassword({ ...user, login: `${freshName()}@example.com` });
        assert.equal((await fails(nobody, "ERR_AUTH_CREDENTIALS")).message, wrong.message);
        await disableUser(user.userId);
        await fails(client().loginWithPassword(user), "ERR_AUTH_USER_DISABLED");
        await fails(client().loginWithPassword({ ...user, password: "wrong" }), "ERR_AUTH_CREDENTIALS");
      },
    },
    {
      name: "locks a login after many wrong passwords, and says how long",
      run: async () => {
        const user = await newUser();
        const guess = async () => {
          for (let at = 0; at < 100; at++)
            await client()
              .loginWithPassword({ ...user, password: "wrong" })
              .catch((error: unknown) => {
                if (Reflect.get(Object(error), "code") !== "ERR_AUTH_CREDENTIALS") throw error;
              });
        };
        const error = await fails(guess(), "ERR_AUTH_LOCKED");
        assert.match(error.metadata.retry_after_seconds ?? "", /^\d+$/);
        await fails(client().loginWithPassword(user), "ERR_AUTH_LOCKED");
      },
    },
    {
      name: "logs in once by a token that was made for it",
      run: async () => {
        const user = await newUser();
        const token = await loginToken(user.userId);
        const { session } = await client().loginWithToken({ token });
        assert.deepEqual([session.userId, session.loginMethod, session.client], [user.userId, "token", {}]);
        await fails(client().loginWithToken({ token }), "ERR_AUTH_TOKEN_INVALID");
        const another = await loginToken(user.userId);
        await disableUser(user.userId);
        await fails(client().loginWithToken({ token: another }), "ERR_AUTH_USER_DISABLED");
      },
    },
    {
      name: "gives a service tokens for what it may, and nothing more",
      run: async () => {
        const { scopes, ...credentials } = service;
        const tokens = await client().issueServiceToken(credentials);
        assert.deepEqual([tokens.scopes.toSorted(), "refreshToken" in tokens], [scopes.toSorted(), false]);
        const less = await client().issueServiceToken({ ...credentials, scopes: scopes.slice(0, 1) });
        const found = await client().introspect({ token: less.accessToken });
        assert.ok(found.active && found.subject === service.clientId && !("sessionId" in found));
        assert.deepEqual(found.scopes, scopes.slice(0, 1));
        await fails(client().issueServiceToken({ ...credentials, scopes: ["all"] }), "ERR_AUTH_SCOPE");
        await fails(client().issueServiceToken({ ...credentials, audience: "nobody" }), "ERR_AUTH_AUDIENCE");
        await fails(client().issueServiceToken({ ...credentials, clientSecret: "wrong" }), "ERR_AUTH_CREDENTIALS");
        await fails(client().issueServiceToken({ ...credentials, clientId: "constructor" }), "ERR_AUTH_CREDENTIALS");
      },
    },
    {
      name: "refreshes a session, and answers the same to the same request",
      run: async () => {
        const { tokens, session } = await logIn();
        const request = { refreshToken: refreshOf(tokens), requestId: freshName("request-") };
        const [next, same] = await Promise.all([client().refresh(request), client().refresh(request)]);
        assert.deepEqual(same, next);
        assert.notEqual(next.refreshToken, tokens.refreshToken);
        const after = await client().getSession(session.sessionId);
        assert.equal("endedAt" in after, false);
        assert.equal(await isActive(refreshOf(tokens)), false);
        assert.equal(await isActive(refreshOf(next)), true);
        await fails(client().refresh({ refreshToken: refreshOf(next), scopes: ["all"] }), "ERR_AUTH_SCOPE");
        await client().refresh({ refreshToken: refreshOf(next) });
      },
    },
    {
      name: "ends the session of a refresh token that is spent twice",
      run: async () => {
        const { tokens, session } = await logIn();
        const next = await client().refresh({ refreshToken: refreshOf(tokens) });
        await fails(client().refresh({ refreshToken: refreshOf(tokens) }), "ERR_AUTH_REFRESH_REUSED");
        await fails(client().refresh({ refreshToken: refreshOf(next) }), "ERR_AUTH_SESSION_ENDED");
        assert.equal(await isActive(next.accessToken), false);
        const { endReason, endedAt } = await client().getSession(session.sessionId);
        assert.ok(endReason === "refresh-reused" && endedAt instanceof Date);
        await fails(client().refresh({ refreshToken: "nonsense" }), "ERR_AUTH_TOKEN_INVALID");
      },
    },
    {
      name: "spends a refresh token once, of many who come at the same time",
      run: async () => {
        const { tokens } = await logIn();
        const request = { refreshToken: refreshOf(tokens) };
        const results = await Promise.allSettled(Array.from({ length: 8 }, () => client().refresh(request)));
        assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
      },
    },
    {
      name: "refreshes nothing for a user who was disabled",
      run: async () => {
        const { user, tokens } = await logIn();
        await disableUser(user.userId);
        const work = client().refresh({ refreshToken: refreshOf(tokens) });
        const error = await work.then(
          () => undefined,
          (thrown: unknown) => String(Reflect.get(Object(thrown), "code")),
        );
        assert.ok(
          error === "ERR_AUTH_USER_DISABLED" || error === "ERR_AUTH_SESSION_ENDED",
          error ?? "it was refreshed",
        );
        assert.equal(await isActive(tokens.accessToken), false);
      },
    },
    {
      name: "takes tokens back: an access token alone, a refresh token with its session",
      run: async () => {
        const { tokens, session } = await logIn();
        await client().revoke(tokens.accessToken);
        await client().revoke(tokens.accessToken);
        assert.deepEqual(await client().introspect({ token: tokens.accessToken }), { active: false });
        const next = await client().refresh({ refreshToken: refreshOf(tokens) });
        await client().revoke(refreshOf(next));
        assert.equal(await isActive(next.accessToken), false);
        assert.equal((await client().getSession(session.sessionId)).endReason, "revoked");
        await client().revoke("nonsense");
      },
    },
    {
      name: "tells nothing of a token that is not active, or for somebody else",
      run: async () => {
        const { tokens } = await logIn();
        const { accessToken } = tokens;
        const forged = `${accessToken.slice(0, accessToken.lastIndexOf(".") + 1)}${"A".repeat(86)}`;
        for (const token of ["nonsense", "a.b.c", forged])
          assert.deepEqual(await client().introspect({ token }), { active: false });
        assert.deepEqual(await client().introspect({ token: accessToken, audience: "nobody" }), { active: false });
      },
    },
    {
      name: "publishes keys that verify its tokens, before and after a rotation",
      run: async () => {
        const { tokens } = await logIn();
        const before = await client().getKeySet();
        assert.ok(before.maxAgeMs > 0);
        assert.ok(isSigned(tokens.accessToken, before.keys));
        const request = { publishAheadMs: 0, requestId: freshName("request-") };
        const rotated = await client().rotateKeys(request);
        assert.deepEqual(await client().rotateKeys(request), rotated);
        await fails(client().rotateKeys({ ...request, publishAheadMs: 1_000 }), "ERR_REQUEST_ID_REUSED");
        const after = await client().getKeySet();
        assert.equal(after.keys[0]?.kid, rotated.key.kid);
        const { tokens: later } = await logIn();
        assert.ok(isSigned(tokens.accessToken, after.keys) && isSigned(later.accessToken, after.keys));
        assert.equal(isSigned(later.accessToken, before.keys), false);
      },
    },
    {
      name: "publishes a key ahead, one at a time, and drops what has leaked at once",
      run: async () => {
        const { tokens } = await logIn();
        const { key, signsFrom } = await client().rotateKeys({ publishAheadMs: 3_600_000 });
        assert.ok(signsFrom.getTime() > tokens.accessExpiresAt.getTime());
        const { keys } = await client().getKeySet();
        assert.notEqual(keys[0]?.kid, key.kid);
        assert.ok(keys.some(({ kid }) => kid === key.kid));
        await fails(client().rotateKeys({ publishAheadMs: 3_600_000 }), "ERR_AUTH_ROTATION_PENDING");
        await fails(client().rotateKeys({ publishAheadMs: 1, revokeOld: true }), "ERR_REQUEST_INVALID");
        const fresh = await client().rotateKeys({ revokeOld: true });
        const left = (await client().getKeySet()).keys.map(({ kid }) => kid);
        assert.deepEqual(left, [fresh.key.kid]);
        assert.equal(await isActive(tokens.accessToken), false);
      },
    },
    {
      name: "lists the sessions of a user, page by page, and ends them",
      run: async () => {
        const user = await newUser();
        const sessions = [];
        for (let at = 0; at < 3; at++) sessions.unshift((await client().loginWithPassword(user)).session.sessionId);
        const ids = async (includeEnded = false) =>
          (await allOf(client().listSessions({ userId: user.userId, includeEnded, pageSize: 2 }))).map(
            (one) => one.sessionId,
          );
        assert.deepEqual(await ids(), sessions);
        const [newest, middle, oldest] = sessions;
        assert.ok(newest && middle && oldest);
        const ended = await client().endSession(middle);
        assert.equal(ended.endReason, "revoked");
        assert.deepEqual(await client().endSession(middle), ended);
        assert.deepEqual(await ids(), [newest, oldest]);
        const rest = { userId: user.userId, exceptSessionId: oldest };
        assert.deepEqual([await client().endUserSessions(rest), await client().endUserSessions(rest)], [1, 0]);
        assert.deepEqual([await ids(), await ids(true)], [[oldest], sessions]);
        assert.equal(await client().endUserSessions({ userId: userId("nobody") }), 0);
        await fails(client().endSession(sessionId("none-such")), "ERR_AUTH_SESSION_NOT_FOUND");
        await fails(client().getSession(sessionId("none-such")), "ERR_AUTH_SESSION_NOT_FOUND");
        await fails(client().listSessionsPage({ userId: user.userId, pageToken: "nonsense" }), "ERR_PAGE_TOKEN");
      },
    },
    {
      name: "refuses what breaks the contract",
      run: async () => {
        const user = await newUser();
        await fails(client().loginWithPassword({ ...user, login: "" }), "ERR_REQUEST_INVALID");
        await fails(client().loginWithToken({ token: "" }), "ERR_REQUEST_INVALID");
        await fails(client().refresh({ refreshToken: "r", requestId: "short" }), "ERR_REQUEST_INVALID");
        await fails(client().loginWithPassword({ ...user, audience: "nobody" }), "ERR_AUTH_AUDIENCE");
        await fails(client().loginWithPassword({ ...user, scopes: ["all"] }), "ERR_AUTH_SCOPE");
      },
    },
  ];
}

const hashes: Readonly<Record<string, string | null>> = { ES256: "sha256", RS256: "sha256", EdDSA: null };

/** Whether one of the keys has signed this JWT. */
function isSigned(token: string, keys: readonly PublicJwk[]): boolean {
  const [head = "", body = "", signature = ""] = token.split(".");
  const header: unknown = JSON.parse(Buffer.from(head, "base64url").toString());
  const jwk = keys.find(({ kid }) => kid === Reflect.get(Object(header), "kid"));
  if (jwk === undefined) return false;
  const hash = hashes[jwk.alg];
  assert.ok(hash !== undefined, `this suite cannot verify ${jwk.alg}`);
  const key = createPublicKey({ key: Object.fromEntries(Object.entries(jwk)), format: "jwk" });
  const options = { key, dsaEncoding: "ieee-p1363" as const };
  return verify(hash, Buffer.from(`${head}.${body}`), options, Buffer.from(signature, "base64url"));
}
