import { AppError } from "@plinth/kernel";
import type { LoginClient, Session, SessionEndReason, TokenSet } from "../auth/types.ts";
import { compact } from "../convert.ts";
import { type SessionId, sessionId, type UserId } from "../ids.ts";
import type { Source } from "./control.ts";

/** A refresh token of a session, and who has spent it. */
export interface RefreshToken {
  readonly token: string;
  readonly sessionId: SessionId;
  readonly audience: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  spent?: { readonly requestId: string; readonly atMs: number; readonly reply: Promise<TokenSet> };
}

export interface Lifetimes {
  readonly refreshMs: number;
  readonly sessionMs: number;
}

/** The sessions of an issuer. */
export class AuthSessions {
  readonly #source: Source;
  readonly #lifetimes: Lifetimes;
  readonly #sessions = new Map<SessionId, Session & { readonly scopes: readonly string[] }>();
  readonly #tokens = new Map<string, RefreshToken>();

  constructor(source: Source, lifetimes: Lifetimes) {
    this.#source = source;
    this.#lifetimes = lifetimes;
  }

  begin(given: {
    readonly userId: UserId;
    readonly client: LoginClient | undefined;
    readonly loginMethod: "password" | "token";
    readonly scopes: readonly string[];
  }): Session {
    const { client = {}, ...rest } = given;
    const now = this.#source.now();
    const id = sessionId(`s-${this.#source.hex(8)}`);
    const times = { createdAt: now, lastUsedAt: now, expiresAt: new Date(now.getTime() + this.#lifetimes.sessionMs) };
    this.#sessions.set(id, { sessionId: id, ...rest, client: compact({ ...client }), ...times });
    return this.get(id);
  }

  /** @throws AppError `ERR_AUTH_SESSION_NOT_FOUND`. */
  get(id: SessionId): Session {
    const { scopes: _, ...session } = this.#find(id);
    return session;
  }

  scopesOf(id: SessionId): readonly string[] {
    return this.#find(id).scopes;
  }

  /** Whether it goes on. */
  isLive(id: SessionId): boolean {
    const session = this.#sessions.get(id);
    return session !== undefined && session.endedAt === undefined && session.expiresAt > this.#source.now();
  }

  /** The newest first. */
  of(userId: UserId, { includeEnded = false }: { readonly includeEnded?: boolean | undefined }): readonly Session[] {
    const all = [...this.#sessions.values()].filter((session) => session.userId === userId).toReversed();
    return all
      .filter(({ sessionId }) => includeEnded || this.isLive(sessionId))
      .map((session) => this.get(session.sessionId));
  }

  /** @returns whether it has ended by this. */
  end(id: SessionId, endReason: SessionEndReason): boolean {
    const session = this.#find(id);
    if (!this.isLive(id)) return false;
    this.#sessions.set(id, { ...session, endedAt: this.#source.now(), endReason });
    return true;
  }

  /** A token to refresh the session by. */
  issue(id: SessionId, audience: string): RefreshToken {
    const session = this.#find(id);
    const nowMs = this.#source.clock.now();
    this.#sessions.set(id, { ...session, lastUsedAt: new Date(nowMs) });
    const expiresAtMs = Math.min(nowMs + this.#lifetimes.refreshMs, session.expiresAt.getTime());
    const token = { token: `r-${this.#source.hex(24)}`, sessionId: id, audience, issuedAtMs: nowMs, expiresAtMs };
    this.#tokens.set(token.token, token);
    return token;
  }

  token(token: string): RefreshToken | undefined {
    return this.#tokens.get(token);
  }

  #find(id: SessionId) {
    const session = this.#sessions.get(id);
    if (session === undefined) throw AppError.notFound("ERR_AUTH_SESSION_NOT_FOUND", `there is no session ${id}`);
    return session;
  }
}
