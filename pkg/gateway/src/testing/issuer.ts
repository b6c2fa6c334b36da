import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { httpInstance } from "./kit.ts";

type Json = Readonly<Record<string, unknown>>;

export interface SigningKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly jwk: Json;
}

/** A real key for one of the usual algorithms. */
export function signingKey(kid: string, alg: "ES256" | "RS256" | "EdDSA" = "ES256"): SigningKey {
  const { privateKey, publicKey } =
    alg === "ES256"
      ? generateKeyPairSync("ec", { namedCurve: "P-256" })
      : alg === "RS256"
        ? generateKeyPairSync("rsa", { modulusLength: 2_048 })
        : generateKeyPairSync("ed25519");
  return { kid, alg, privateKey, publicKey, jwk: { ...publicKey.export({ format: "jwk" }), kid, alg, use: "sig" } };
}

const encode = (part: Json | string): string =>
  Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");

/** Signs whatever it is given, be it a token or not: header and claims as objects, or as the very text. */
export function forge(key: SigningKey, header: Json | string, claims: Json | string): string {
  const input = `${encode(header)}.${encode(claims)}`;
  const signature =
    key.alg === "EdDSA"
      ? sign(null, Buffer.from(input), key.privateKey)
      : sign("sha256", Buffer.from(input), { key: key.privateKey, dsaEncoding: "ieee-p1363" });
  return `${input}.${signature.toString("base64url")}`;
}

/** The same with a shared secret: what an attacker does who takes a public key for one. */
export function forgeHmac(secret: string | Buffer, header: Json, claims: Json): string {
  const input = `${encode(header)}.${encode(claims)}`;
  return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
}

export function claimsOf(more: Json = {}): Json {
  const now = Math.floor(Date.now() / 1e3);
  return {
    iss: "test-issuer",
    aud: "test",
    sub: "alice",
    scope: "notes:read notes:write",
    iat: now,
    exp: now + 600,
    ...more,
  };
}

/** An ordinary, valid token unless told otherwise; a claim that is undefined is left out. */
export function tokenOf(key: SigningKey, claims: Json = {}, header: Json = {}): string {
  return forge(key, { alg: key.alg, typ: "at+jwt", kid: key.kid, ...header }, claimsOf(claims));
}

export interface TestIssuer extends AsyncDisposable {
  readonly url: string;
  /** What it answers with; keys of the set unless told otherwise. */
  answer: { keys: readonly SigningKey[] } | { status: number; body: string; headers?: Record<string, string> } | "hang";
  readonly fetches: number;
  close(): Promise<void>;
}

export async function startIssuer(...keys: SigningKey[]): Promise<TestIssuer> {
  let fetches = 0;
  const server = await httpInstance((_request, response) => {
    fetches++;
    const { answer } = issuer;
    if (answer === "hang") return;
    if ("keys" in answer) response.end(JSON.stringify({ keys: answer.keys.map(({ jwk }) => jwk) }));
    else response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  const issuer: TestIssuer = {
    url: `http://127.0.0.1:${server.port}/jwks`,
    answer: { keys },
    get fetches() {
      return fetches;
    },
    close: () => server.close(),
    [Symbol.asyncDispose]: () => server.close(),
  };
  return issuer;
}
