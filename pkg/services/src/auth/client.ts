import { createRpcClient } from "@plinth/transport";
import { newRequestIdOf, type ServiceClientOptions } from "../calls.ts";
import { mapValue, readReply, required, toDate, toDuration, toMs, toPage, toPageFields } from "../convert.ts";
import { AuthService } from "../gen/plinth/auth/v1/auth_pb.ts";
import { itemsOf } from "../pages.ts";
import {
  fromIntrospectReply,
  fromIssuerMessage,
  fromKeyMessage,
  fromLogin,
  fromSessionMessage,
  fromTokensMessage,
  toClientMessage,
} from "./convert.ts";
import type { AuthClient } from "./types.ts";

/** Calls Auth over a channel. Errors are those of the service, and of {@link createRpcClient}; `ERR_SERVICE_REPLY` for a reply that breaks the contract. */
export function createAuthClient(options: ServiceClientOptions): AuthClient {
  const rpc = createRpcClient(AuthService, options);
  const newRequestId = newRequestIdOf(options);
  const auth: AuthClient = {
    loginWithPassword: async ({ login, password, audience = "", scopes = [], client }, call) => {
      const request = { login, password, audience, scopes: [...scopes], client: toClientMessage(client) };
      return readReply(await rpc.loginWithPassword(request, call), fromLogin);
    },
    loginWithToken: async ({ token, audience = "", scopes = [], client }, call) => {
      const request = { token, audience, scopes: [...scopes], client: toClientMessage(client) };
      return readReply(await rpc.loginWithToken(request, call), fromLogin);
    },
    issueServiceToken: async ({ clientId, clientSecret, audience = "", scopes = [] }, call) => {
      const request = { clientId, clientSecret, audience, scopes: [...scopes] };
      return readReply(await rpc.issueServiceToken(request, call), ({ tokens }) => fromTokensMessage(tokens));
    },
    refresh: async ({ refreshToken, requestId = newRequestId(), scopes = [] }, call) =>
      readReply(await rpc.refresh({ refreshToken, requestId, scopes: [...scopes] }, call), ({ tokens }) =>
        fromTokensMessage(tokens),
      ),
    revoke: async (token, call) => void (await rpc.revoke({ token }, call)),
    introspect: async ({ token, audience = "" }, call) =>
      readReply(await rpc.introspect({ token, audience }, call), fromIntrospectReply),
    getKeySet: async (call) =>
      readReply(await rpc.getKeySet({}, call), ({ keys, maxAge }) => ({
        keys: keys.map(fromKeyMessage),
        maxAgeMs: toMs(required(maxAge, "/max_age")),
      })),
    getIssuer: async (call) => readReply(await rpc.getIssuer({}, call), ({ issuer }) => fromIssuerMessage(issuer)),
    rotateKeys: async ({ publishAheadMs, revokeOld = false, requestId = newRequestId() } = {}, call) => {
      const request = { publishAhead: mapValue(publishAheadMs, toDuration), revokeOld, requestId };
      return readReply(await rpc.rotateKeys(request, call), ({ key, signsFrom }) => ({
        key: fromKeyMessage(key),
        signsFrom: toDate(required(signsFrom, "/signs_from")),
      }));
    },
    getSession: async (sessionId, call) =>
      readReply(await rpc.getSession({ sessionId }, call), ({ session }) => fromSessionMessage(session)),
    listSessions: (query, call) =>
      itemsOf((pageToken) => auth.listSessionsPage({ ...query, pageToken }, call), query.pageToken),
    listSessionsPage: async (query, call) => {
      const { userId, includeEnded = false } = query;
      const request = { userId, includeEnded, ...toPageFields(query) };
      return readReply(await rpc.listSessions(request, call), ({ sessions, nextPageToken }) =>
        toPage(sessions.map(fromSessionMessage), nextPageToken),
      );
    },
    endSession: async (sessionId, call) =>
      readReply(await rpc.endSession({ sessionId }, call), ({ session }) => fromSessionMessage(session)),
    endUserSessions: async ({ userId, exceptSessionId = "" }, call) =>
      (await rpc.endUserSessions({ userId, exceptSessionId }, call)).endedCount,
  };
  return auth;
}
