// Access tokens as the development issuer makes them, and such as it never would. Signed by node:crypto, not by the platform's code.
import { createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { readFile } from "node:fs/promises";
import { asRecord } from "./json.ts";

export interface SigningKey {
  readonly id: string;
  readonly key: KeyObject;
}

/** The development key of a platform, from the file that it keeps it in. */
export async function readSigningKey(path: string): Promise<SigningKey> {
  const jwk = asRecord(JSON.parse(await readFile(path, "utf8")));
  return { id: String(jwk["kid"]), key: createPrivateKey({ key: jwk, format: "jwk" }) };
}

/** A key that no issuer has published, under the id of one that it has. */
export function foreignKey({ id }: SigningKey): SigningKey {
  return { id, key: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey };
}

export interface Claims {
  readonly [claim: string]: unknown;
}

/** Claims that the gateway accepts, for `sub`; `more` takes their place. */
export function claimsFor(sub: string, scope: string, more: Claims = {}): Claims {
  const now = Math.floor(Date.now() / 1_000);
  return { iss: "plinth-dev", aud: "plinth", sub, scope, iat: now, exp: now + 600, jti: crypto.randomUUID(), ...more };
}

/** A JWT by ES256; `header` takes the place of its own fields. */
export function signToken({ id, key }: SigningKey, claims: Claims, header: Claims = {}): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${encode({ alg: "ES256", typ: "at+jwt", kid: id, ...header })}.${encode(claims)}`;
  const signature = sign("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" });
  return `${text}.${signature.toString("base64url")}`;
}
