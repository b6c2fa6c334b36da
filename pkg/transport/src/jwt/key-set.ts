import { createLocalJWKSet, type FlattenedJWSInput, type JWK, type JWSHeaderParameters, type CryptoKey } from "jose";
import { parseStrictObject } from "./strict-json.ts";

/** The public keys of an issuer at one time. */
export interface KeySet {
  /** Whether some key has this id. */
  has(kid: string): boolean;
  /**
   * The one key for a token's header, by key id, key type and algorithm.
   * @throws jose's `JWKSNoMatchingKey` or `JWKSMultipleMatchingKeys`.
   */
  readonly keyFor: (header: JWSHeaderParameters, token: FlattenedJWSInput) => Promise<CryptoKey>;
  /** The keys as text: equal for equal sets. */
  readonly text: string;
  /** Private and symmetric keys that were left out: whoever publishes those lets others sign. */
  readonly secrets: number;
}

export const maxKeys = 100;
const maxKidBytes = 256;
const publicTypes: ReadonlySet<unknown> = new Set(["RSA", "EC", "OKP"]);

/**
 * Reads a JWK Set. It is taken whole or not at all; what cannot be a public signature key in it is left out: symmetric keys,
 * private ones (whoever can read the set could sign), keys for encryption.
 *
 * @param options.strict - Private and symmetric keys are a fault: for sets that the operator has written. Default false.
 * @throws Error with what is wrong with it.
 * @see https://www.rfc-editor.org/rfc/rfc7517#section-5
 */
export function parseKeySet(text: string, { strict = false }: { readonly strict?: boolean } = {}): KeySet {
  const given = objectOf(text).keys;
  if (!Array.isArray(given)) throw new Error('it is no object with a list "keys"');
  if (given.length > maxKeys) throw new Error(`it has ${given.length} keys, more than ${maxKeys}`);
  const secrets = given.filter((key) => isSecret(key)).length;
  if (strict && secrets > 0)
    throw new Error("it has a private or symmetric key; only public keys belong into a set for verifying");
  const keys = given.filter((key): key is JWK => isSignatureKey(key));
  if (keys.length === 0) throw new Error("it has no public key for signatures");
  const kids = new Set<string>();
  for (const { kid } of keys) {
    if (kid === undefined) continue;
    if (kids.has(kid)) throw new Error(`two keys have the id ${JSON.stringify(kid.slice(0, 64))}`);
    kids.add(kid);
  }
  return { has: (kid) => kids.has(kid), keyFor: createLocalJWKSet({ keys }), text: JSON.stringify(keys), secrets };
}

/** The parser's own message would quote from the text, which may be a private key by mistake. */
function objectOf(text: string): Readonly<Record<string, unknown>> {
  try {
    return parseStrictObject(text);
  } catch {
    throw new Error("it is no JSON object, or has a member twice");
  }
}

function isSignatureKey(key: unknown): boolean {
  if (!isRecord(key)) throw new Error("one of its keys is no object");
  const { kty, kid, use } = key;
  if (kid !== undefined && (typeof kid !== "string" || Buffer.byteLength(kid) > maxKidBytes))
    throw new Error("one of its keys has an id that is no short text");
  return publicTypes.has(kty) && !isSecret(key) && (use === undefined || use === "sig");
}

function isSecret(key: unknown): boolean {
  return isRecord(key) && (key.kty === "oct" || key.d !== undefined || key.k !== undefined);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
