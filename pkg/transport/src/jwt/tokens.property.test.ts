import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { env } from "node:process";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import * as fc from "fast-check";
import { inspectToken } from "./inspect.ts";
import { KeyKeeper } from "./key-keeper.ts";
import { type Issuer, type TokenCaller, type TokenRefusal, TokenVerifier } from "./verifier.ts";
import type { TokenFault, TokenIdentity, TokenRules } from "./verify.ts";

/** `PLINTH_FUZZ_RUNS=200000` for a long look; with `PLINTH_FUZZ_SEED`, at other tokens. */
const numRuns = Number(env["PLINTH_FUZZ_RUNS"] ?? 200);
const seed = Number(env["PLINTH_FUZZ_SEED"] ?? 20_261_123);

const ed = generateKeyPairSync("ed25519");
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const foreign = generateKeyPairSync("ed25519").privateKey;
const rules: TokenRules = {
  issuer: "https://issuer.example",
  audiences: ["notes"],
  algorithms: ["EdDSA", "ES256"],
  clockSkewMs: 0,
  requiredClaims: ["tenant"],
};
const nowMs = 1_700_000_000_000;
const nowSeconds = nowMs / 1e3;
const keys = JSON.stringify({
  keys: [
    { ...ed.publicKey.export({ format: "jwk" }), kid: "ed", alg: "EdDSA" },
    { ...ec.publicKey.export({ format: "jwk" }), kid: "ec", alg: "ES256" },
  ],
});

const header = { alg: "EdDSA", kid: "ed", typ: "at+jwt" };
const claims = {
  iss: rules.issuer,
  aud: ["notes", "other"],
  sub: "alice",
  scope: "a b",
  exp: nowSeconds + 600,
  nbf: nowSeconds,
  iat: nowSeconds,
  tenant: { id: 7 },
};

/** Every word that a refusal may say. */
const faults: ReadonlySet<TokenFault | undefined> = new Set<TokenFault>([
  "malformed",
  "header",
  "algorithm",
  "type",
  "key_unknown",
  "signature",
  "issuer",
  "audience",
  "subject",
  "scope",
  "expiry_missing",
  "expired",
  "not_yet_valid",
  "lifetime",
  "claim_missing",
]);

const base64url = (part: string | Buffer): string => Buffer.from(part).toString("base64url");
const signed = (head: string, body: string, key: KeyObject = ed.privateKey): string => {
  const input = `${base64url(head)}.${base64url(body)}`;
  return `${input}.${base64url(sign(null, Buffer.from(input), key))}`;
};
const [head, body] = [JSON.stringify(header), JSON.stringify(claims)];
const valid = signed(head, body);

async function start(): Promise<(token: string) => Promise<TokenCaller<TokenIdentity> | TokenRefusal>> {
  const clock = new FakeClock(nowMs);
  const keeper = new KeyKeeper({ fetchText: async () => keys, clock, refreshMs: 1e9, keepMs: 1e9, fixed: true });
  keeper.start();
  await keeper.available();
  const issuer: Issuer = { name: "main", rules, keys: keeper };
  const verifier = new TokenVerifier({ issuers: [issuer], clock, toKnown: (identity) => identity, maxCachedTokens: 2 });
  return async (token) => verifier.verifyToken(token);
}

/** A typed refusal, and nothing else; what can be said without a key says the same. */
function assertRefused(verdict: TokenCaller<TokenIdentity> | TokenRefusal, token: string): void {
  if ("known" in verdict) assert.fail(`verified: ${token}`);
  assert.ok(verdict.reason === "token_invalid" || verdict.reason === "token_expired", verdict.reason);
  assert.ok(faults.has(verdict.fault), String(verdict.fault));
  const seen = inspectToken(token, [rules], nowMs);
  if ("reason" in seen) assert.ok(seen.reason === "token_invalid" || seen.reason === "token_expired");
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".split("");

/** What somebody does to a token who has seen it and has no key. */
const parts = valid.split(".");
const text = fc.constantFrom(
  ...valid.split(""),
  ".",
  "=",
  "-",
  "_",
  "+",
  "/",
  " ",
  "\0",
  "\n",
  "%",
  "é",
  "\ud800",
  "A",
  "\u212a",
);
const at = fc.nat(valid.length);
const bytesOf = (index: number): fc.Arbitrary<string> =>
  fc
    .tuple(fc.array(fc.tuple(fc.nat(400), fc.nat(7)), { minLength: 1, maxLength: 3 }), fc.constant(index))
    .map(([flips, index]) => {
      const bytes = Buffer.from(parts[index] ?? "", "base64url");
      for (const [place, bit] of flips)
        bytes.writeUInt8((bytes[place % bytes.length] ?? 0) ^ (1 << bit), place % bytes.length);
      return parts.with(index, bytes.toString("base64url")).join(".");
    });
const json = fc.oneof(
  fc.json({ maxDepth: 3 }),
  fc.constantFrom("", "{}", "[]", "null", "{", '{"a":1}x', "[".repeat(3_000)),
);
const mutated = fc.oneof(
  fc.tuple(at, text).map(([place, put]) => valid.slice(0, place) + put + valid.slice(place + 1)),
  fc.tuple(at, text).map(([place, put]) => valid.slice(0, place) + put + valid.slice(place)),
  fc.tuple(at, at).map(([from, to]) => valid.slice(0, from) + valid.slice(to)),
  fc.nat(2).chain(bytesOf),
  fc.array(fc.constantFrom(...parts, "", "e30", base64url("null")), { maxLength: 6 }).map((all) => all.join(".")),
  fc
    .constantFrom("=", "==", "A", "%3D")
    .chain((tail) => fc.nat(2).map((n) => parts.with(n, `${parts[n]}${tail}`).join("."))),
  // nested, and larger than any
  fc.constantFrom(
    `${valid}.${valid}`,
    signed(head, valid),
    `${parts[0]}.${base64url(valid)}.${parts[2]}`,
    valid.repeat(200),
  ),
  fc.nat(20_000).map((length) => parts.with(1, "A".repeat(length)).join(".")),
  // parts of it exchanged for whatever may be JSON, with the signature of the valid one
  fc.tuple(json, fc.nat(1)).map(([value, index]) => parts.with(index, base64url(value)).join(".")),
  fc.string({ unit: "binary", maxLength: 60 }),
);

/** What an issuer itself may have signed and nobody takes. */
const anyValue = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom("none", "None", "HS256", "ES256", "RS256", "EdDSA\0", "ed", "JWT", "jose", "notes", -1, 1e300, ""),
);
const word = fc.constantFrom("alg", "kid", "typ", "crit", "b64", "enc", "zip", "jwk", "x5c", "jku", "__proto__");
const claimName = fc.constantFrom(
  "iss",
  "aud",
  "sub",
  "exp",
  "nbf",
  "iat",
  "scope",
  "scp",
  "tenant",
  "roles",
  "__proto__",
);
const replaced = fc.oneof(
  fc.tuple(fc.constant(true), word, anyValue),
  fc.tuple(fc.constant(false), claimName, anyValue),
);

/** The same object with one member anew, also one that is called `__proto__`. */
function withMember(whole: object, name: string, value: unknown): string {
  const others = Object.entries(whole).filter(([key]) => key !== name);
  return `{${[...others, [name, value] as const].map(([key, each]) => `${JSON.stringify(key)}:${JSON.stringify(each)}`).join(",")}}`;
}

describe("tokens", () => {
  it("are taken in the one spelling that was signed, whatever is done to it without a key", async () => {
    const verify = await start();
    assert.ok("known" in (await verify(valid)));
    await fc.assert(
      fc.asyncProperty(mutated, async (token) => {
        if (token !== valid) assertRefused(await verify(token), token);
      }),
      { seed, numRuns },
    );
    assert.ok("known" in (await verify(valid)), "it is remembered, or verified again");
  });

  it("are refused with bits of their three parts turned, and cut off at each place", async () => {
    const verify = await start();
    for (const [index, part] of parts.entries()) {
      const bytes = Buffer.from(part, "base64url");
      for (let bit = 0; bit < bytes.length * 8; bit += index === 2 ? 5 : 13) {
        bytes.writeUInt8((bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7)), bit >> 3);
        const token = parts.with(index, bytes.toString("base64url")).join(".");
        bytes.writeUInt8((bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7)), bit >> 3);
        assertRefused(await verify(token), token);
      }
    }
    for (let length = 0; length < valid.length; length++) assertRefused(await verify(valid.slice(0, length)), "");
    // the last character of a part has bits to spare, so that several could stand for the same bytes
    for (const [index, part] of parts.entries())
      for (const last of alphabet) {
        const token = parts.with(index, part.slice(0, -1) + last).join(".");
        if (token !== valid) assertRefused(await verify(token), token);
      }
  });

  it("that an issuer has signed with any member anew are taken with what the rules ask for, and with nothing else", async () => {
    const verify = await start();
    await fc.assert(
      fc.asyncProperty(replaced, async ([isHeader, name, value]) => {
        const token = isHeader
          ? signed(withMember(header, name, value), body)
          : signed(head, withMember(claims, name, value));
        const verdict = await verify(token);
        if (!("known" in verdict)) return assertRefused(verdict, token);
        const expected = isHeader ? mayHead(name, value) : mayClaim(name, value);
        assert.ok(expected, `${name}: ${JSON.stringify(value)}`);
        assert.equal(Reflect.get({}, "id"), undefined);
      }),
      { seed, numRuns },
    );
  });

  const other = { ...header, kid: "nobody" };
  const now = nowSeconds;
  const secret = (key: string | Buffer, alg: string): string => {
    const input = `${base64url(JSON.stringify({ ...header, alg }))}.${base64url(body)}`;
    return `${input}.${base64url(createHmac("sha256", key).update(input).digest())}`;
  };
  const corpus: [what: string, token: string, fault: TokenFault][] = [
    ["`none` and no signature", `${base64url('{"alg":"none"}')}.${parts[1]}.`, "malformed"],
    ["`none` and some signature", `${base64url('{"alg":"none"}')}.${parts[1]}.AAAA`, "algorithm"],
    ["`nOnE`", `${base64url('{"alg":"nOnE"}')}.${parts[1]}.${parts[2]}`, "algorithm"],
    ["the public key as a secret", secret(ed.publicKey.export({ format: "der", type: "spki" }), "HS256"), "algorithm"],
    ["its text as a secret", secret(ed.publicKey.export({ format: "pem", type: "spki" }), "HS256"), "algorithm"],
    ["the key of another algorithm", signed(JSON.stringify({ ...header, alg: "ES256" }), body), "key_unknown"],
    ["the other key's id", signed(JSON.stringify({ ...header, kid: "ec" }), body), "key_unknown"],
    ["an unknown key id", signed(JSON.stringify(other), body), "key_unknown"],
    ["a stranger's signature", signed(head, body, foreign), "signature"],
    [
      "a key that it brings along",
      signed(withMember(header, "jwk", ed.publicKey.export({ format: "jwk" })), body, foreign),
      "signature",
    ],
    ["`crit`", signed(withMember(header, "crit", ["exp"]), body), "header"],
    ["`crit` that is empty", signed(withMember(header, "crit", []), body), "header"],
    ["`b64`", signed(withMember(header, "b64", true), body), "header"],
    ["a key id of 257 bytes", signed(withMember(header, "kid", "k".repeat(257)), body), "header"],
    ["an algorithm twice", signed(head.replace("{", '{"alg":"none",'), body), "malformed"],
    ["a subject twice", signed(head, body.replace("{", '{"sub":"root",')), "malformed"],
    ["a subject twice, once escaped", signed(head, body.replace("{", '{"s\\u0075b":"root",')), "malformed"],
    [
      "a member twice far inside",
      signed(head, withMember(claims, "x", 0).replace(/0}$/, '{"y":[{"z":1,"z":1}]}}')),
      "malformed",
    ],
    ["a byte order mark", signed(head, `\ufeff${body}`), "malformed"],
    ["more than 8 192 characters", signed(head, withMember(claims, "x", "x".repeat(6_200))), "malformed"],
    ["claims that are no object", signed(head, JSON.stringify([claims])), "malformed"],
    ["a token for claims", signed(head, valid), "malformed"],
    ["a signature for all times", signed(head, body.replace(String(now + 600), "1e400")), "expiry_missing"],
    ["a time as text", signed(head, withMember(claims, "exp", `${now + 600}`)), "expiry_missing"],
    ["an issuer in a list", signed(head, withMember(claims, "iss", [rules.issuer])), "issuer"],
    ["an audience with more to it", signed(head, withMember(claims, "aud", "notes ")), "audience"],
    ["a subject without letters", signed(head, withMember(claims, "sub", "")), "subject"],
    ["half a character for a subject", signed(head, withMember(claims, "sub", "\ud800")), "subject"],
  ];
  for (const [what, token, fault] of corpus)
    it(`are refused with ${what}`, async () => {
      const verify = await start();
      assert.deepEqual(await verify(token), { reason: "token_invalid", fault });
    });

  it("of ECDSA have two signatures each that hold: both say the same, and revocations go by what a token says", async () => {
    const verify = await start();
    const input = `${base64url(JSON.stringify({ ...header, alg: "ES256", kid: "ec" }))}.${parts[1]}`;
    const signature = sign("sha256", Buffer.from(input), { key: ec.privateKey, dsaEncoding: "ieee-p1363" });
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    const s = order - BigInt(`0x${signature.toString("hex", 32)}`);
    const twin = Buffer.concat([signature.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, "0"), "hex")]);
    const verdicts = await Promise.all([signature, twin].map((each) => verify(`${input}.${base64url(each)}`)));
    const [one, two] = verdicts.map((verdict) => ("known" in verdict ? verdict.known : undefined));
    assert.equal(one?.subject, "alice");
    assert.deepEqual(one, two);
    const der = base64url(sign("sha256", Buffer.from(input), ec.privateKey));
    for (const each of [der, base64url(Buffer.alloc(64)), base64url(Buffer.alloc(64, 255))])
      assert.deepEqual(await verify(`${input}.${each}`), { reason: "token_invalid", fault: "signature" });
  });
});

/** Slowly and from the specification alone: RFC 7515, 4.1, and RFC 7519, 4.1. */
function mayHead(name: string, value: unknown): boolean {
  if (name === "alg") return value === "EdDSA";
  if (name === "kid") return value === "ed";
  if (name === "typ") return typeof value === "string" && /^(?:application\/)?(?:at\+jwt|jwt)$/i.test(value);
  return ["jwk", "x5c", "jku", "__proto__"].includes(name); // not looked at
}

function mayClaim(name: string, value: unknown): boolean {
  const isText = typeof value === "string";
  const isTexts = Array.isArray(value) && value.every((each) => typeof each === "string");
  const isTime = typeof value === "number" && Number.isFinite(value) && value >= 0;
  if (name === "iss") return value === rules.issuer;
  if (name === "aud") return isText ? value === "notes" : isTexts && value.includes("notes");
  if (name === "sub") return isText && value !== "" && value.isWellFormed();
  if (name === "exp") return isTime && value > nowSeconds;
  if (name === "nbf" || name === "iat") return isTime && value <= nowSeconds;
  if (name === "scope") return isText || isTexts || value === null;
  if (name === "scp") return true; // `scope` is there, and counts
  if (name === "tenant") return value !== null;
  return true; // roles that are none are none
}
