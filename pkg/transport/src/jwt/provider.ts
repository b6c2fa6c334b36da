import { messageOf } from "@plinth/kernel";
import { z } from "zod";
import { maxKeys, parseKeySet } from "./key-set.ts";

/** Where a claim stands: its name, whatever characters that has, or names that lead to it through objects. */
export const claimPath = z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(8)]);

export type ClaimPath = z.output<typeof claimPath>;

/** An issuer of tokens in the config: of the gateway's document, and of a service's section `auth`. */
export const tokenProvider = z
  .strictObject({
    issuer: z.string().min(1).meta({ description: "The token's `iss`, exactly." }),
    audiences: z
      .array(z.string().min(1))
      .min(1)
      .meta({ description: "Audiences of which the token's `aud` must hold one; see `audienceMatch`." }),
    audienceMatch: z
      .enum(["any", "all"])
      .default("any")
      .meta({ description: "Whether `aud` must hold `any` one of the audiences, or `all` of them." }),
    algorithms: z
      .array(
        z.enum(["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA", "Ed25519"]),
      )
      .min(1)
      .default(["ES256", "RS256"])
      .meta({ description: "Signatures accepted. Public-key ones only." }),
    types: z
      .array(z.string().regex(/^[a-z0-9+.-]{1,64}$/, "expected a type in lower case, without `application/`"))
      .min(1)
      .default(["at+jwt", "jwt", "none"])
      .meta({
        description:
          "Types (`typ`) accepted, in lower case and without `application/`; `none` is a token without one. `[at+jwt]` takes access tokens only.",
      }),
    maxLifetimeMs: z
      .int()
      .min(1_000)
      .max(315_360_000_000)
      .optional()
      .meta({ description: "Longest time from `iat`, which must be there then, to `exp`, in ms. Default: any." }),
    requiredClaims: z
      .array(z.string().min(1))
      .default([])
      .meta({ description: "Claims that must be there and not null, beside `iss`, `aud`, `sub` and `exp`." }),
    rolesClaim: claimPath.default("roles").meta({
      description:
        "Claim that holds the caller's roles, a text or a list of them: its name, or a list of names that leads into objects.",
    }),
    jwks: z
      .union([
        z.url({ protocol: /^https?$/ }),
        z.strictObject({
          file: z.string().min(1).optional().meta({ description: "File of a key set; read anew when it changes." }),
          keys: z
            .array(z.record(z.string(), z.unknown()))
            .min(1)
            .max(maxKeys)
            .optional()
            .meta({ description: "The public keys themselves, as in a key set." }),
        }),
      ])
      .meta({ description: "The key set: its URL (https, or http on a loopback address), or `file`, or `keys`." }),
    clockSkewMs: z
      .int()
      .min(0)
      .max(300_000)
      .default(30_000)
      .meta({ description: "How far the issuer's clock may be off, in ms." }),
    refreshMs: z
      .int()
      .min(1_000)
      .max(86_400_000)
      .default(600_000)
      .meta({ description: "How often the key set is fetched anew, at most, in ms." }),
    keepMs: z
      .int()
      .min(0)
      .max(604_800_000)
      .default(86_400_000)
      .meta({ description: "How long keys are used that cannot be fetched anew, in ms." }),
  })
  .meta({ description: "An issuer of JSON Web Tokens." });

export type TokenProvider = z.infer<typeof tokenProvider>;

/** What is wrong with where an issuer's keys are to come from; undefined when nothing is. */
export function keySourceProblem(jwks: TokenProvider["jwks"]): string | undefined {
  if (typeof jwks === "string") return keySetUrlProblem(jwks);
  const { file, keys } = jwks;
  if ((file === undefined) === (keys === undefined)) return "expected a URL, or one of `file` and `keys`";
  if (keys === undefined) return undefined;
  try {
    parseKeySet(JSON.stringify({ keys }), { strict: true });
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** Key sets come over https, or over http from this machine only. */
export function keySetUrlProblem(text: string): string | undefined {
  if (!URL.canParse(text)) return `expected a URL, got ${JSON.stringify(text)}`;
  const { protocol, hostname, username, password } = new URL(text);
  if (username !== "" || password !== "") return "a URL with a user name or password is not taken";
  if (protocol === "https:") return undefined;
  const isLoopback = hostname === "localhost" || hostname === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(hostname);
  return protocol === "http:" && isLoopback
    ? undefined
    : "expected https; http is for loopback addresses only, since whoever sits between could give keys of their own";
}
