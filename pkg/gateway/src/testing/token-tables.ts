import { claimsOf, forge, forgeHmac, type SigningKey, tokenOf } from "./issuer.ts";

/** Keys `es`, `rsa` and `ed` that the issuer has published, and one of the id `es` that it has not. */
export interface TableKeys {
  readonly es: SigningKey;
  readonly rsa: SigningKey;
  readonly ed: SigningKey;
  readonly stranger: SigningKey;
}

export interface TokenTables {
  /** By what is particular about them. */
  readonly valid: Readonly<Record<string, () => string>>;
  /** With the word by which operators are told of the fault. */
  readonly invalid: Readonly<Record<string, readonly [fault: string, make: () => string]>>;
}

/**
 * Tokens that every verifier must take, and such as have fooled some: the issuer is `test-issuer`, the audience `test`, the skew 30 s.
 * @see https://www.rfc-editor.org/rfc/rfc8725
 */
export function tokenTables({ es, rsa, ed, stranger }: TableKeys): TokenTables {
  const valid: TokenTables["valid"] = {
    ES256: () => tokenOf(es),
    RS256: () => tokenOf(rsa),
    EdDSA: () => tokenOf(ed),
    "typ JWT": () => tokenOf(es, {}, { typ: "JWT" }),
    "typ as a media type": () => tokenOf(es, {}, { typ: "application/at+jwt" }),
    "no typ": () => tokenOf(es, {}, { typ: undefined }),
    "several audiences": () => tokenOf(es, { aud: ["x", "test"] }),
    "claims as deep as fit": () => tokenOf(es, { deep: deepList(2_000) }),
    "expired within the skew": () => tokenOf(es, { exp: now() - 25 }),
    "not yet valid within the skew": () => tokenOf(es, { nbf: now() + 25 }),
    "a fraction of a second": () => tokenOf(es, { exp: now() + 60.5 }),
    "keys of its own, which nobody looks at": () =>
      tokenOf(es, {}, { jwk: stranger.jwk, jku: "http://127.0.0.1:1/", x5u: "http://127.0.0.1:1/" }),
  };
  const pem = es.publicKey.export({ format: "pem", type: "spki" });
  const unsigned = (alg: unknown): string =>
    `${Buffer.from(JSON.stringify({ alg, typ: "JWT" })).toString("base64url")}.${Buffer.from(JSON.stringify(claimsOf())).toString("base64url")}`;
  const retail = (token: string, change: (signature: Buffer) => Buffer): string => {
    const [head, body, signature = ""] = token.split(".");
    return `${head}.${body}.${change(Buffer.from(signature, "base64url")).toString("base64url")}`;
  };
  const invalid: TokenTables["invalid"] = {
    "no signature at all": ["malformed", () => unsigned("none")],
    "alg none and an empty signature": ["malformed", () => `${unsigned("none")}.`],
    "alg none and some signature": ["algorithm", () => `${unsigned("none")}.AAAA`],
    "alg None": ["algorithm", () => `${unsigned("None")}.AAAA`],
    "alg nOnE": ["algorithm", () => `${unsigned("nOnE")}.AAAA`],
    "an empty alg": ["algorithm", () => `${unsigned("")}.AAAA`],
    "alg missing": ["algorithm", () => `${unsigned(undefined)}.AAAA`],
    "alg a list": ["algorithm", () => `${unsigned(["ES256"])}.AAAA`],
    "four parts": ["malformed", () => `${tokenOf(es)}.AAAA`],
    "HS256 with the public key's PEM as secret": [
      "algorithm",
      () => forgeHmac(pem, { alg: "HS256", typ: "JWT", kid: "es" }, claimsOf()),
    ],
    "HS256 with the public key's PEM after a line feed": [
      "algorithm",
      () => forgeHmac(`\n${pem}`, { alg: "HS256", kid: "es" }, claimsOf()),
    ],
    "HS256 with the public key's DER": [
      "algorithm",
      () => forgeHmac(es.publicKey.export({ format: "der", type: "spki" }), { alg: "HS256", kid: "es" }, claimsOf()),
    ],
    "HS256 with the JWK": [
      "algorithm",
      () => forgeHmac(JSON.stringify(es.jwk), { alg: "HS256", kid: "es" }, claimsOf()),
    ],
    "an algorithm that does not fit its key": ["key_unknown", () => forge(es, { alg: "RS256", kid: "es" }, claimsOf())],
    "an algorithm that is not on the list": ["algorithm", () => forge(es, { alg: "ES384", kid: "es" }, claimsOf())],
    "another key's id": ["key_unknown", () => forge(es, { alg: "ES256", kid: "rsa" }, claimsOf())],
    "a stranger's signature": ["signature", () => tokenOf(stranger)],
    "a stranger's signature and key": ["signature", () => tokenOf(stranger, {}, { jwk: stranger.jwk })],
    "the claims of another token": [
      "signature",
      () => `${tokenOf(es).split(".")[0]}.${tokenOf(es, { sub: "root" }).split(".")[1]}.${tokenOf(es).split(".")[2]}`,
    ],
    "HS256 with the JWK of a key that names no algorithm": [
      "algorithm",
      () => forgeHmac(JSON.stringify({ ...es.jwk, alg: undefined }), { alg: "HS256", kid: "es" }, claimsOf()),
    ],
    "a signature of numbers past the curve's order": [
      "signature",
      () => retail(tokenOf(es), () => Buffer.alloc(64, 255)),
    ],
    "an RSA signature with its padding's head cut off": [
      "signature",
      () => retail(tokenOf(rsa), (signature) => signature.subarray(1)),
    ],
    "a signature of zeros": ["signature", () => retail(tokenOf(es), () => Buffer.alloc(64))],
    "a signature one byte longer": [
      "signature",
      () => retail(tokenOf(es), (signature) => Buffer.concat([signature, Buffer.alloc(1)])),
    ],
    "a signature one byte shorter": ["signature", () => retail(tokenOf(es), (signature) => signature.subarray(0, 63))],
    "a signature in DER": [
      "signature",
      () =>
        retail(tokenOf(es), (signature) =>
          Buffer.concat([
            Buffer.from("30440220", "hex"),
            signature.subarray(0, 32),
            Buffer.from("0220", "hex"),
            signature.subarray(32),
          ]),
        ),
    ],
    "an RSA signature with a flipped bit": [
      "signature",
      () => retail(tokenOf(rsa), (signature) => (signature.writeUInt8(signature.readUInt8(5) ^ 1, 5), signature)),
    ],
    padding: ["malformed", () => `${tokenOf(es)}=`],
    "a bit in the tail that base64url does not use": [
      "malformed",
      () => {
        const token = tokenOf(es);
        const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        return token.slice(0, -1) + (last[last.indexOf(token.slice(-1)) + 1] ?? "_");
      },
    ],
    "a comma and another one": ["malformed", () => `${tokenOf(es)},${tokenOf(es)}`],
    "8193 characters": ["malformed", () => tokenOf(es, { pad: "x".repeat(6_000) })],
    crit: ["header", () => tokenOf(es, {}, { crit: ["x"], x: 1 })],
    b64: ["header", () => tokenOf(es, {}, { b64: false, crit: ["b64"] })],
    "enc, as for an encrypted one": ["header", () => tokenOf(es, {}, { enc: "A256GCM" })],
    "a kid that is a path": ["key_unknown", () => tokenOf(es, {}, { kid: "../../dev/null" })],
    "a kid that is a condition": ["key_unknown", () => tokenOf(es, {}, { kid: "' OR 1=1 --" })],
    "a kid of everybody's prototype": ["key_unknown", () => tokenOf(es, {}, { kid: "__proto__" })],
    "a kid of 10 KiB": ["malformed", () => tokenOf(es, {}, { kid: "k".repeat(10_240) })],
    "five parts, as an encrypted one has": [
      "malformed",
      () => `${forge(es, { alg: "RSA-OAEP", enc: "A256GCM", zip: "DEF" }, claimsOf())}.AAAA.AAAA`,
    ],
    "a password to be stretched a billion times": [
      "algorithm",
      () => forge(es, { alg: "PBES2-HS256+A128KW", enc: "A128GCM", p2c: 1e9, p2s: "AAAA" }, claimsOf()),
    ],
    "another token in the place of its claims": [
      "malformed",
      () => forge(es, { alg: "ES256", kid: "es", cty: "JWT" }, tokenOf(es)),
    ],
    "a space in it": ["malformed", () => tokenOf(es).replace(".", ". ")],
    "a kid that is an object": ["header", () => tokenOf(es, {}, { kid: { es: 1 } })],
    "a kid of 300 bytes": ["header", () => tokenOf(es, {}, { kid: "k".repeat(300) })],
    "another type": ["type", () => tokenOf(es, {}, { typ: "id+jwt" })],
    "a type that is no text": ["type", () => tokenOf(es, {}, { typ: 1 })],
    "header members twice": ["malformed", () => forge(es, '{"alg":"ES256","kid":"es","alg":"none"}', claimsOf())],
    "claims twice": [
      "malformed",
      () => forge(es, { alg: "ES256", kid: "es" }, `{"sub":"root",${JSON.stringify(claimsOf()).slice(1)}`),
    ],
    "claims that are no JSON": ["malformed", () => forge(es, { alg: "ES256", kid: "es" }, "claims")],
    "claims that are a list": ["malformed", () => forge(es, { alg: "ES256", kid: "es" }, "[]")],
    "a mark of byte order before its claims": [
      "malformed",
      () => forge(es, { alg: "ES256", kid: "es" }, `\u{feff}${JSON.stringify(claimsOf())}`),
    ],
    "claims that are no UTF-8": [
      "malformed",
      () => `${tokenOf(es).split(".")[0]}.${Buffer.from([0x7b, 0xff, 0x7d]).toString("base64url")}.AAAA`,
    ],
    "another issuer": ["issuer", () => tokenOf(es, { iss: "test-issuer/" })],
    "an issuer in another case": ["issuer", () => tokenOf(es, { iss: "Test-Issuer" })],
    "a list of issuers": ["issuer", () => tokenOf(es, { iss: ["test-issuer"] })],
    "no issuer": ["issuer", () => tokenOf(es, { iss: undefined })],
    "issuer __proto__": ["issuer", () => tokenOf(es, { iss: "__proto__" })],
    "another audience": ["audience", () => tokenOf(es, { aud: "testing" })],
    "an audience that is an object": ["audience", () => tokenOf(es, { aud: { test: 1 } })],
    "audiences that are not all text": ["audience", () => tokenOf(es, { aud: ["test", 1] })],
    "no audience": ["audience", () => tokenOf(es, { aud: undefined })],
    "no subject": ["subject", () => tokenOf(es, { sub: undefined })],
    "an empty subject": ["subject", () => tokenOf(es, { sub: "" })],
    "a subject that is a number": ["subject", () => tokenOf(es, { sub: 1 })],
    "no expiry": ["expiry_missing", () => tokenOf(es, { exp: undefined })],
    "an expiry that is text": ["expiry_missing", () => tokenOf(es, { exp: `${now() + 600}` })],
    "an expiry of 1e400": [
      "expiry_missing",
      () =>
        forge(es, { alg: "ES256", kid: "es" }, JSON.stringify(claimsOf({ exp: 1 })).replace('"exp":1', '"exp":1e400')),
    ],
    "an expiry of NaN": [
      "malformed",
      () =>
        forge(es, { alg: "ES256", kid: "es" }, JSON.stringify(claimsOf({ exp: 1 })).replace('"exp":1', '"exp":NaN')),
    ],
    "an expiry after the year 9999": ["expiry_missing", () => tokenOf(es, { exp: 253_402_300_800 })],
    "a negative expiry": ["expiry_missing", () => tokenOf(es, { exp: -1 })],
    "an expiry of null": ["expiry_missing", () => tokenOf(es, { exp: null })],
    "validity later than the skew": ["not_yet_valid", () => tokenOf(es, { nbf: now() + 40 })],
    "validity that is text": ["not_yet_valid", () => tokenOf(es, { nbf: "0" })],
    "issue in the future": ["not_yet_valid", () => tokenOf(es, { iat: now() + 40 })],
    "scopes that are a number": ["scope", () => tokenOf(es, { scope: 7 })],
  };
  return { valid, invalid };
}

function now(): number {
  return Math.floor(Date.now() / 1e3);
}

function deepList(depth: number): unknown {
  let list: unknown = [];
  for (let at = 1; at < depth; at++) list = [list];
  return list;
}
