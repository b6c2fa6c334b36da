import { AppError, type Clock } from "@plinth/kernel";
import type { KeyRotation, PublicJwk, RotatedKey } from "../auth/types.ts";
import { Checks } from "./checks.ts";
import type { Source } from "./control.ts";

interface SigningKey {
  readonly jwk: PublicJwk;
  readonly keys: CryptoKeyPair;
  /** By the clock's `now`. */
  readonly signsFromMs: number;
}

type CryptoKeyPair = Awaited<ReturnType<typeof newPair>>;

/** The claims of a token, as JSON. */
export type Claims = Readonly<Record<string, unknown>>;

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** How long key sets may be kept, in milliseconds. */
export const keySetMaxAgeMs = 300_000;

function newPair() {
  return crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

/** The keys of an issuer: real ones, ES256. */
export class AuthKeys {
  readonly #source: Source;
  readonly #clock: Clock;
  readonly #tokensLiveMs: number;
  /** The newest first. */
  #keys: SigningKey[] = [];
  #first: Promise<void> | undefined;

  constructor(source: Source, tokensLiveMs: number) {
    this.#source = source;
    this.#clock = source.clock;
    this.#tokensLiveMs = tokensLiveMs;
  }

  /** The one that signs first. */
  async published(): Promise<readonly PublicJwk[]> {
    const signing = await this.#signing();
    const keys = this.#live();
    return [signing, ...keys.filter((key) => key !== signing)].map(({ jwk }) => jwk);
  }

  /** @throws AppError `ERR_AUTH_ROTATION_PENDING`. */
  async rotate({
    revokeOld = false,
    publishAheadMs = revokeOld ? 0 : 2 * keySetMaxAgeMs,
  }: KeyRotation): Promise<RotatedKey> {
    new Checks()
      .that(publishAheadMs >= 0 && publishAheadMs <= 604_800_000, "/publish_ahead", "must be 0 to 7 days")
      .that(!revokeOld || publishAheadMs === 0, "/publish_ahead", "must be 0 with revoke_old")
      .done();
    await this.#signing();
    const nowMs = this.#clock.now();
    const [newest] = this.#keys;
    const isPending = newest !== undefined && newest.signsFromMs > nowMs;
    if (isPending && publishAheadMs > 0)
      throw AppError.failedPrecondition(
        "ERR_AUTH_ROTATION_PENDING",
        `${newest.jwk.kid} is published and does not sign yet`,
      );
    const key = await this.#make(nowMs + publishAheadMs);
    const old = revokeOld ? [] : this.#live().filter(({ signsFromMs }) => signsFromMs <= nowMs);
    this.#keys = [key, ...old];
    return { key: key.jwk, signsFrom: new Date(key.signsFromMs) };
  }

  async sign(claims: Claims): Promise<string> {
    const { jwk, keys } = await this.#signing();
    const head = encode(JSON.stringify({ alg: jwk.alg, kid: jwk.kid, typ: "at+jwt" }));
    const text = `${head}.${encode(JSON.stringify(claims))}`;
    const signature = await crypto.subtle.sign(algorithm, keys.privateKey, Buffer.from(text));
    return `${text}.${Buffer.from(signature).toString("base64url")}`;
  }

  /** What a token says that a published key has signed; undefined for any other. */
  async read(token: string): Promise<Claims | undefined> {
    const [head = "", body = "", signature = "", ...more] = token.split(".");
    const header = parse(head);
    const key = this.#live().find(({ jwk }) => jwk.kid === header?.kid);
    if (key === undefined || header?.alg !== key.jwk.alg || more.length > 0) return undefined;
    const bytes = Buffer.from(signature, "base64url");
    const holds = await crypto.subtle.verify(algorithm, key.keys.publicKey, bytes, Buffer.from(`${head}.${body}`));
    return holds ? parse(body) : undefined;
  }

  async #signing(): Promise<SigningKey> {
    this.#first ??= this.#make(this.#clock.now()).then((key) => void this.#keys.push(key));
    await this.#first;
    const nowMs = this.#clock.now();
    const key = this.#keys.find(({ signsFromMs }) => signsFromMs <= nowMs) ?? this.#keys.at(-1);
    if (key === undefined) throw new Error("an issuer has a key");
    return key;
  }

  /** Those that sign, will, or did as long as a token of theirs may live. */
  #live(): readonly SigningKey[] {
    const nowMs = this.#clock.now();
    return this.#keys.filter((_, at) => {
      const next = this.#keys[at - 1];
      return next === undefined || nowMs < next.signsFromMs + this.#tokensLiveMs;
    });
  }

  async #make(signsFromMs: number): Promise<SigningKey> {
    const keys = await newPair();
    const { x = "", y = "" } = await crypto.subtle.exportKey("jwk", keys.publicKey);
    const jwk = { kid: `k-${this.#source.hex(8)}`, kty: "EC", alg: "ES256", use: "sig", crv: "P-256", x, y };
    return { jwk, keys, signsFromMs };
  }
}

function encode(text: string): string {
  return Buffer.from(text).toString("base64url");
}

function parse(part: string): Claims | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString());
    return typeof value === "object" && value !== null ? { ...value } : undefined;
  } catch {
    return undefined; // it is no token
  }
}
