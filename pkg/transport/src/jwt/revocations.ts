import type { Clock } from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import type { TokenIdentity } from "./verify.ts";

/** Tokens that are refused though they are valid: those that meet all that is given here. */
export interface Revocation {
  /** The token's `jti`. One of `jti`, `subject` and `issuedBeforeMs` is needed. */
  readonly jti?: string | undefined;
  /** The token's `sub`. */
  readonly subject?: string | undefined;
  /** The token's `iss`. Default: of any issuer. */
  readonly issuer?: string | undefined;
  /** The token's `iat` is earlier than this, in milliseconds since the Unix epoch. A token without `iat` counts as earlier. Default: whenever. */
  readonly issuedBeforeMs?: number | undefined;
  /** It is forgotten then, in milliseconds since the Unix epoch: such as when the tokens have expired anyway. Default: never. */
  readonly untilMs?: number | undefined;
}

/** What has become of a revocation. */
export interface RevocationChange {
  readonly op: "add" | "remove";
  readonly revocation: Revocation;
}

/** What of a token a revocation looks at. */
export interface RevocableToken {
  readonly issuer: string;
  readonly subject: string;
  readonly jti: string | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly issuedAtMs: number | undefined;
}

/** What a revocation looks at of a token with these claims. */
export function toRevocable({
  issuer,
  subject,
  claims,
}: Pick<TokenIdentity, "issuer" | "subject" | "claims">): RevocableToken {
  const { jti, iat } = claims;
  return {
    issuer,
    subject,
    jti: typeof jti === "string" ? jti : undefined,
    issuedAtMs: typeof iat === "number" ? iat * 1e3 : undefined,
  };
}

export interface RevocationsOptions {
  readonly clock: Clock;
  /** Revocations held, from the code and the file each, 1 or more. Default 100_000. */
  readonly max?: number;
}

const maxTextLength = 1_024;

/**
 * Tokens that are refused before they expire. What is added counts from the next token on, also for those that were verified and are
 * remembered. Kept in memory of this process.
 */
export class Revocations {
  readonly #clock: Clock;
  readonly #max: number;
  readonly #added: RevocationIndex;
  readonly #listeners = new Set<(change: RevocationChange) => void>();
  #fromFile: RevocationIndex;
  #version = 0;

  constructor({ clock, max = 100_000 }: RevocationsOptions) {
    this.#clock = clock;
    this.#max = max;
    this.#added = new RevocationIndex();
    this.#fromFile = new RevocationIndex();
  }

  /** How many there are, those included whose time is over and that were not cleared away yet. */
  get size(): number {
    return this.#added.size + this.#fromFile.size;
  }

  /** Another number each time that there may be more of them. */
  get version(): number {
    return this.#version;
  }

  /**
   * Revokes what it says from now on. The same twice is one.
   * @throws {@link TransportError} `ERR_AUTH_REVOCATION` when it says nothing, or has an empty or over-long text or a time that is none;
   *   `ERR_AUTH_REVOCATIONS_FULL` when there are as many as may be: none is ever forgotten to make room.
   */
  add(revocation: Revocation): void {
    this.apply({ op: "add", revocation });
    this.#tell({ op: "add", revocation });
  }

  /** Takes back what was added by the very same; returns whether there was one. Those of the file stay. */
  remove(revocation: Revocation): boolean {
    const wasThere = this.apply({ op: "remove", revocation });
    if (wasThere) this.#tell({ op: "remove", revocation });
    return wasThere;
  }

  /** Tells of each that is added and removed here; not of what is applied. Returns how to end it. */
  onChange(listener: (change: RevocationChange) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Does what was done elsewhere, in another process that holds the same; nobody is told of it.
   * @returns Whether anything is another than before.
   * @throws {@link TransportError} as `add` does.
   */
  apply({ op, revocation }: RevocationChange): boolean {
    if (op === "remove") return this.#added.remove(revocation);
    const problem = revocationProblem(revocation);
    if (problem !== undefined) throw new TransportError("ERR_AUTH_REVOCATION", "invalid_argument", problem);
    const before = this.#added.get(revocation);
    if (before && before.untilMs === revocation.untilMs) return false;
    if (this.#added.size >= this.#max && !before) {
      this.#added.forget(this.#clock.now());
      if (this.#added.size >= this.#max) throw full(this.#max);
    }
    this.#added.add(revocation);
    this.#version++;
    return true;
  }

  /** Those that were added and are not over; the others are cleared away. Those of the file are not among them. */
  added(): readonly Revocation[] {
    this.#added.forget(this.#clock.now());
    return this.#added.all;
  }

  /**
   * Puts others in place of all that came from the file, at once or not at all.
   * @throws {@link TransportError} as `add` does.
   */
  replaceFile(revocations: readonly Revocation[]): void {
    if (revocations.length > this.#max) throw full(this.#max);
    const next = new RevocationIndex();
    for (const [index, revocation] of revocations.entries()) {
      const problem = revocationProblem(revocation);
      if (problem !== undefined)
        throw new TransportError("ERR_AUTH_REVOCATION", "invalid_argument", `revocation ${index + 1}: ${problem}`);
      next.add(revocation);
    }
    this.#fromFile = next;
    this.#version++;
  }

  /** Whether a token is among what was revoked. */
  revokes(token: RevocableToken): boolean {
    if (this.#added.size === 0 && this.#fromFile.size === 0) return false;
    const nowMs = this.#clock.now();
    return this.#added.revokes(token, nowMs) || this.#fromFile.revokes(token, nowMs);
  }

  #tell(change: RevocationChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/** Finds those that may be meant by `jti` or subject; only those by issue time alone, which are few, are looked at for each token. */
class RevocationIndex {
  readonly #all = new Map<string, Revocation>();
  readonly #byJti = new Map<string, Map<string, Revocation>>();
  readonly #bySubject = new Map<string, Map<string, Revocation>>();
  readonly #general = new Map<string, Revocation>();

  get size(): number {
    return this.#all.size;
  }

  get all(): readonly Revocation[] {
    return [...this.#all.values()];
  }

  get(revocation: Revocation): Revocation | undefined {
    return this.#all.get(revocationText(revocation));
  }

  add(revocation: Revocation): void {
    const key = revocationText(revocation);
    const own = Object.freeze({ ...revocation });
    this.#all.set(key, own);
    const { jti, subject } = own;
    if (jti === undefined && subject === undefined) {
      this.#general.set(key, own);
      return;
    }
    const [index, text] = jti === undefined ? [this.#bySubject, subject ?? ""] : [this.#byJti, jti];
    const found = index.get(text);
    if (found) found.set(key, own);
    else index.set(text, new Map([[key, own]]));
  }

  remove(revocation: Revocation): boolean {
    const key = revocationText(revocation);
    if (!this.#all.delete(key)) return false;
    const { jti, subject } = revocation;
    this.#general.delete(key);
    const [index, text] = jti === undefined ? [this.#bySubject, subject ?? ""] : [this.#byJti, jti];
    const found = index.get(text);
    found?.delete(key);
    if (found?.size === 0) index.delete(text);
    return true;
  }

  /** Clears away those whose time is over. */
  forget(nowMs: number): void {
    for (const revocation of this.#all.values()) if (isOver(revocation, nowMs)) this.remove(revocation);
  }

  revokes(token: RevocableToken, nowMs: number): boolean {
    const { jti, subject } = token;
    return (
      (jti !== undefined && isAmong(this.#byJti.get(jti), token, nowMs)) ||
      isAmong(this.#bySubject.get(subject), token, nowMs) ||
      isAmong(this.#general, token, nowMs)
    );
  }
}

function isAmong(
  revocations: ReadonlyMap<string, Revocation> | undefined,
  token: RevocableToken,
  nowMs: number,
): boolean {
  if (!revocations) return false;
  for (const revocation of revocations.values())
    if (!isOver(revocation, nowMs) && means(revocation, token)) return true;
  return false;
}

function means({ jti, subject, issuer, issuedBeforeMs }: Revocation, token: RevocableToken): boolean {
  return (
    (jti === undefined || jti === token.jti) &&
    (subject === undefined || subject === token.subject) &&
    (issuer === undefined || issuer === token.issuer) &&
    (issuedBeforeMs === undefined || token.issuedAtMs === undefined || token.issuedAtMs < issuedBeforeMs)
  );
}

function isOver({ untilMs }: Revocation, nowMs: number): boolean {
  return untilMs !== undefined && nowMs >= untilMs;
}

/** What tells one from another, as a text: all but `untilMs`. {@link parseRevocation} reads it. */
export function revocationText({ jti, subject, issuer, issuedBeforeMs }: Revocation): string {
  return JSON.stringify([jti ?? null, subject ?? null, issuer ?? null, issuedBeforeMs ?? null]);
}

/**
 * Reads what {@link revocationText} wrote.
 * @returns Undefined for any other text.
 */
export function parseRevocation(text: string, untilMs?: number): Revocation | undefined {
  const parts = partsOf(text);
  if (parts?.length !== 4) return undefined;
  const [jti, subject, issuer, issuedBeforeMs] = parts;
  if (!isTextOrNull(jti) || !isTextOrNull(subject) || !isTextOrNull(issuer)) return undefined;
  if (issuedBeforeMs !== null && typeof issuedBeforeMs !== "number") return undefined;
  const revocation = {
    jti: jti ?? undefined,
    subject: subject ?? undefined,
    issuer: issuer ?? undefined,
    issuedBeforeMs: issuedBeforeMs ?? undefined,
    untilMs,
  };
  return revocationProblem(revocation) === undefined ? revocation : undefined;
}

function partsOf(text: string): readonly unknown[] | undefined {
  try {
    const parts: unknown = JSON.parse(text);
    return Array.isArray(parts) ? parts : undefined;
  } catch {
    return undefined; // what is no JSON is none of ours, which the caller is told
  }
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === "string";
}

/** What is wrong with it; quotes nothing of it. */
function revocationProblem({ jti, subject, issuer, issuedBeforeMs, untilMs }: Revocation): string | undefined {
  if (jti === undefined && subject === undefined && issuedBeforeMs === undefined)
    return "expected one of jti, subject and issuedBeforeMs; without any of them every token would be revoked";
  for (const [name, text] of Object.entries({ jti, subject, issuer }))
    if (text === "" || (text !== undefined && text.length > maxTextLength))
      return `${name}: expected a text of 1 to ${maxTextLength} characters`;
  for (const [name, ms] of Object.entries({ issuedBeforeMs, untilMs }))
    if (ms !== undefined && !(ms >= 0 && Number.isFinite(ms)))
      return `${name}: expected milliseconds since the Unix epoch`;
  return undefined;
}

function full(max: number): TransportError {
  return new TransportError(
    "ERR_AUTH_REVOCATIONS_FULL",
    "resource_exhausted",
    `there are ${max} revocations already; give them an untilMs, or revoke by subject or issue time instead of one by one`,
  );
}
