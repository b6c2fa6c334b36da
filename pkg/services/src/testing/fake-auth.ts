import { AppError } from "@plinth/kernel";
import type { AuthClient } from "../auth/types.ts";
import type { UserId } from "../ids.ts";
import { itemsOf } from "../pages.ts";
import { keySetMaxAgeMs } from "./auth-keys.ts";
import { Checks } from "./checks.ts";
import { type FakeControl, Gate } from "./control.ts";
import { type FakeAuthOptions, FakeIssuer } from "./fake-issuer.ts";
import { pageOf } from "./paging.ts";

export type { FakeAuthOptions } from "./fake-issuer.ts";

/** Auth in memory, with what a test may have it do. */
export interface FakeAuth extends AuthClient {
  readonly control: FakeControl<keyof AuthClient> & {
    /** A token for one login of this user, as in a link; good for 10 minutes. */
    loginToken(userId: UserId): string;
    /** Ends all sessions of a user who was disabled: for `fakeIdentity({ endSessions })`. */
    endSessions(userId: UserId): Promise<void>;
  };
}

/** A fake of Auth that answers as the contract says. Its tokens are signed by real keys: whatever verifies JWTs can be tried on them. */
export function fakeAuth(options: FakeAuthOptions): FakeAuth {
  const gate = new Gate<keyof AuthClient>();
  const issuer = new FakeIssuer(options);
  const control = Object.assign(gate, {
    loginToken: (id: UserId) => issuer.loginToken(id),
    endSessions: async (id: UserId) => void issuer.endAll(id, "user-disabled"),
  });
  return { ...clientOf(issuer, gate), control };
}

function clientOf(issuer: FakeIssuer, gate: Gate<keyof AuthClient>): AuthClient {
  const { sessions, keys, settings, source } = issuer;
  const auth: AuthClient = {
    async loginWithPassword({ login, password, client, ...wish }, options) {
      await gate.enter("loginWithPassword", options);
      new Checks()
        .length(login, "/login", { min: 1, max: 254 })
        .length(password, "/password", { min: 1, max: 1_024 })
        .done();
      const wanted = issuer.wish(wish, settings.userScopes);
      return issuer.logIn({ userId: await issuer.verify(login, password), client, loginMethod: "password" }, wanted);
    },
    async loginWithToken({ token, client, ...wish }, options) {
      await gate.enter("loginWithToken", options);
      new Checks().length(token, "/token", { min: 1, max: 4_096 }).done();
      const wanted = issuer.wish(wish, settings.userScopes);
      return issuer.logIn({ userId: await issuer.spendLoginToken(token), client, loginMethod: "token" }, wanted);
    },
    async issueServiceToken({ clientId, clientSecret, ...wish }, options) {
      await gate.enter("issueServiceToken", options);
      const service = Object.hasOwn(settings.services, clientId) ? settings.services[clientId] : undefined;
      if (service?.secret !== clientSecret)
        throw AppError.unauthenticated("ERR_AUTH_CREDENTIALS", "client id or secret is wrong");
      return issuer.access(clientId, issuer.wish(wish, service.scopes));
    },
    async refresh(request, options) {
      await gate.enter("refresh", options);
      const { requestId = source.hex(16) } = request;
      new Checks().requestId(requestId).done();
      return issuer.refresh(request, requestId);
    },
    async revoke(token, options) {
      await gate.enter("revoke", options);
      await issuer.revoke(token);
    },
    async introspect({ token, audience }, options) {
      await gate.enter("introspect", options);
      return issuer.introspect(token, audience);
    },
    async getKeySet(options) {
      await gate.enter("getKeySet", options);
      return { keys: await keys.published(), maxAgeMs: keySetMaxAgeMs };
    },
    async getIssuer(options) {
      await gate.enter("getIssuer", options);
      const { issuer: name, audiences, accessMs, refreshMs, sessionMs } = settings;
      const lifetimes = { accessLifetimeMs: accessMs, refreshLifetimeMs: refreshMs, sessionLifetimeMs: sessionMs };
      return { issuer: name, audiences, signingAlgorithms: ["ES256"], ...lifetimes };
    },
    async rotateKeys(request = {}, options) {
      await gate.enter("rotateKeys", options);
      const { requestId = source.hex(16), ...rotation } = request;
      new Checks().requestId(requestId).done();
      return issuer.rotations.once(requestId, { revokeOld: false, ...rotation }, () => keys.rotate(rotation));
    },
    async getSession(id, options) {
      await gate.enter("getSession", options);
      return sessions.get(id);
    },
    listSessions: (query, options) =>
      itemsOf((pageToken) => auth.listSessionsPage({ ...query, pageToken }, options), query.pageToken),
    async listSessionsPage(query, options) {
      await gate.enter("listSessionsPage", options);
      const { includeEnded = false } = query;
      return pageOf(sessions.of(query.userId, { includeEnded }), Object.assign({ ...query }, { includeEnded }));
    },
    async endSession(id, options) {
      await gate.enter("endSession", options);
      sessions.end(id, "revoked");
      return sessions.get(id);
    },
    async endUserSessions({ userId: id, exceptSessionId }, options) {
      await gate.enter("endUserSessions", options);
      return issuer.endAll(id, "revoked", exceptSessionId);
    },
  };
  return auth;
}
