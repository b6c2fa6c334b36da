// Between the messages of plinth.auth.v1 and plain values.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { compact, mapText, required, textOf, toDate, toDuration, toMs, toTimestamp, wordsOf } from "../convert.ts";
import {
  type Client as ClientMessage,
  type ClientSchema,
  type Issuer as IssuerMessage,
  type IssuerSchema,
  type IntrospectResponse,
  type IntrospectResponseSchema,
  type JsonWebKey as KeyMessage,
  type JsonWebKeySchema,
  LoginMethod as MethodNumber,
  type Session as SessionMessage,
  SessionEndReason as ReasonNumber,
  type SessionSchema,
  TokenKind,
  type TokenSet as TokenSetMessage,
  type TokenSetSchema,
} from "../gen/plinth/auth/v1/auth_pb.ts";
import { sessionId, userId } from "../ids.ts";
import type { Introspection, Issuer, Login, LoginClient, PublicJwk, Session, TokenSet } from "./types.ts";

export function toClientMessage({ address = "", name = "" }: LoginClient = {}): MessageInitShape<typeof ClientSchema> {
  return { address, name };
}

export function fromClientMessage(client: ClientMessage | undefined): LoginClient {
  return compact({ address: textOf(client?.address ?? ""), name: textOf(client?.name ?? "") });
}

export function toTokensMessage(tokens: TokenSet): MessageInitShape<typeof TokenSetSchema> {
  return {
    accessToken: tokens.accessToken,
    accessExpiresAt: toTimestamp(tokens.accessExpiresAt),
    refreshToken: tokens.refreshToken ?? "",
    refreshExpiresAt: toTimestamp(tokens.refreshExpiresAt),
    scopes: [...tokens.scopes],
  };
}

export function fromTokensMessage(given: TokenSetMessage | undefined): TokenSet {
  const tokens = required(given, "/tokens");
  return compact({
    accessToken: required(tokens.accessToken, "/tokens/access_token"),
    accessExpiresAt: toDate(required(tokens.accessExpiresAt, "/tokens/access_expires_at")),
    refreshToken: textOf(tokens.refreshToken),
    refreshExpiresAt: toDate(tokens.refreshExpiresAt),
    scopes: [...tokens.scopes],
  });
}

export function fromLogin({
  tokens,
  session,
}: {
  readonly tokens?: TokenSetMessage | undefined;
  readonly session?: SessionMessage | undefined;
}): Login {
  return { tokens: fromTokensMessage(tokens), session: fromSessionMessage(session) };
}

const methods = wordsOf({ password: MethodNumber.PASSWORD, token: MethodNumber.TOKEN }, MethodNumber.UNSPECIFIED);
const reasons = wordsOf(
  {
    revoked: ReasonNumber.REVOKED,
    "refresh-reused": ReasonNumber.REFRESH_REUSED,
    "user-disabled": ReasonNumber.USER_DISABLED,
  },
  ReasonNumber.UNSPECIFIED,
);

export function toSessionMessage(session: Session): MessageInitShape<typeof SessionSchema> {
  const { sessionId, userId, client, loginMethod, endReason } = session;
  return {
    sessionId,
    userId,
    client: toClientMessage(client),
    loginMethod: methods.toNumber(loginMethod === "other" ? undefined : loginMethod),
    createdAt: toTimestamp(session.createdAt),
    lastUsedAt: toTimestamp(session.lastUsedAt),
    expiresAt: toTimestamp(session.expiresAt),
    endedAt: toTimestamp(session.endedAt),
    endReason: reasons.toNumber(endReason),
  };
}

export function fromSessionMessage(given: SessionMessage | undefined): Session {
  const session = required(given, "/session");
  return compact({
    sessionId: sessionId(session.sessionId),
    userId: userId(session.userId),
    client: fromClientMessage(session.client),
    loginMethod: methods.toWord(session.loginMethod) ?? "other",
    createdAt: toDate(required(session.createdAt, "/session/created_at")),
    lastUsedAt: toDate(required(session.lastUsedAt, "/session/last_used_at")),
    expiresAt: toDate(required(session.expiresAt, "/session/expires_at")),
    endedAt: toDate(session.endedAt),
    endReason: reasons.toWord(session.endReason),
  });
}

const kinds = wordsOf({ access: TokenKind.ACCESS, refresh: TokenKind.REFRESH }, TokenKind.UNSPECIFIED);

export function toIntrospectReply(found: Introspection): MessageInitShape<typeof IntrospectResponseSchema> {
  if (!found.active) return { active: false };
  const { kind, subject, sessionId = "", audiences, scopes, issuer, tokenId = "", issuedAt, expiresAt } = found;
  const claims = {
    kind: kinds.toNumber(kind === "other" ? undefined : kind),
    subject,
    sessionId,
    audiences: [...audiences],
    scopes: [...scopes],
    issuer,
    tokenId,
    issuedAt: toTimestamp(issuedAt),
    expiresAt: toTimestamp(expiresAt),
  };
  return { active: true, claims };
}

export function fromIntrospectReply({ active, claims: given }: IntrospectResponse): Introspection {
  if (!active) return { active };
  const claims = required(given, "/claims");
  return compact({
    active,
    kind: kinds.toWord(claims.kind) ?? "other",
    subject: required(claims.subject, "/claims/subject"),
    sessionId: mapText(claims.sessionId, sessionId),
    audiences: [...claims.audiences],
    scopes: [...claims.scopes],
    issuer: claims.issuer,
    tokenId: textOf(claims.tokenId),
    issuedAt: toDate(required(claims.issuedAt, "/claims/issued_at")),
    expiresAt: toDate(required(claims.expiresAt, "/claims/expires_at")),
  });
}

export function toKeyMessage(key: PublicJwk): MessageInitShape<typeof JsonWebKeySchema> {
  const { kid, kty, alg, use, n = "", e = "", crv = "", x = "", y = "" } = key;
  return { kid, kty, alg, use, n, e, crv, x, y };
}

export function fromKeyMessage(given: KeyMessage | undefined): PublicJwk {
  const { kid, kty, alg, use, n, e, crv, x, y } = required(given, "/key");
  const members = { n: textOf(n), e: textOf(e), crv: textOf(crv), x: textOf(x), y: textOf(y) };
  return compact({ kid: required(kid, "/key/kid"), kty, alg, use, ...members });
}

export function toIssuerMessage(issuer: Issuer): MessageInitShape<typeof IssuerSchema> {
  return {
    issuer: issuer.issuer,
    audiences: [...issuer.audiences],
    signingAlgorithms: [...issuer.signingAlgorithms],
    jwksUri: issuer.jwksUri ?? "",
    accessLifetime: toDuration(issuer.accessLifetimeMs),
    refreshLifetime: toDuration(issuer.refreshLifetimeMs),
    sessionLifetime: toDuration(issuer.sessionLifetimeMs),
  };
}

export function fromIssuerMessage(given: IssuerMessage | undefined): Issuer {
  const issuer = required(given, "/issuer");
  return compact({
    issuer: required(issuer.issuer, "/issuer/issuer"),
    audiences: [...issuer.audiences],
    signingAlgorithms: [...issuer.signingAlgorithms],
    jwksUri: textOf(issuer.jwksUri),
    accessLifetimeMs: toMs(required(issuer.accessLifetime, "/issuer/access_lifetime")),
    refreshLifetimeMs: toMs(required(issuer.refreshLifetime, "/issuer/refresh_lifetime")),
    sessionLifetimeMs: toMs(required(issuer.sessionLifetime, "/issuer/session_lifetime")),
  });
}
