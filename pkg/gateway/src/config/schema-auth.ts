import { type ClaimPath, claimPath, tokenProvider } from "@plinth/transport/jwt";
import { z } from "zod";
import { handlingOf } from "../headers/names.ts";
import { authorizeSchema, introspectSchema } from "./schema-auth-services.ts";

const scope = z.string().regex(/^[\u0021\u0023-\u005B\u005D-\u007E]+$/, "expected a scope without spaces and quotes");
const role = z.string().min(1).max(256);

/** A list of which all are needed, or `{ any: [...] }` of which one is enough. */
const wordsSchema = (word: z.ZodString) =>
  z.union([
    z.array(word),
    z.strictObject({ any: z.array(word).min(1).meta({ description: "The token must have one of these." }) }),
  ]);

const scalar = z.union([z.string(), z.number(), z.boolean()]);

export type ClaimValue = z.output<typeof scalar>;

/** What is asked of a token's claims: of one claim, or of several rules together. */
export interface ClaimRuleConfig {
  readonly claim?: ClaimPath | undefined;
  readonly equals?: ClaimValue | undefined;
  readonly oneOf?: readonly ClaimValue[] | undefined;
  readonly contains?: ClaimValue | undefined;
  readonly any?: readonly ClaimRuleConfig[] | undefined;
  readonly all?: readonly ClaimRuleConfig[] | undefined;
}

const leaf = {
  claim: claimPath.optional().meta({
    description:
      "The claim: its name, or a list of names that leads into objects. With one of equals, oneOf, contains.",
  }),
  equals: scalar.optional().meta({ description: "The claim is this text, number or boolean." }),
  oneOf: z.array(scalar).min(1).max(100).optional().meta({ description: "The claim is one of these." }),
  contains: scalar.optional().meta({ description: "The claim is a list that holds this." }),
};

/** @param depth - How many times `any` and `all` may stand within each other below this rule. */
function ruleSchema(depth: number): z.ZodType<ClaimRuleConfig, ClaimRuleConfig> {
  if (depth === 0) return z.strictObject(leaf);
  const rules = z
    .array(ruleSchema(depth - 1))
    .min(1)
    .max(50)
    .optional();
  return z.strictObject({
    ...leaf,
    any: rules.meta({ description: "One of these rules must hold." }),
    all: rules.meta({ description: "All of these rules must hold." }),
  });
}

/** Written by the gateway itself, to whatever end. */
const ownNames: ReadonlySet<string> = new Set(
  ["subject", "scopes", "issuer", "instance", "timeout-ms"].map((name) => `plinth-${name}`),
);

/** An issuer of tokens, and what of its tokens services are told. */
export const gatewayTokenProvider = tokenProvider
  .extend({
    headers: z
      .record(
        z
          .string()
          .regex(
            /^plinth-[a-z0-9]+(?:-[a-z0-9]+)*$/,
            "expected plinth- and lower-case letters, digits and hyphens: only those names are kept from clients on every route",
          )
          .max(64)
          .refine((name) => !ownNames.has(name), "the gateway writes that header itself"),
        claimPath,
      )
      .default({})
      .meta({
        description:
          "Claims that services get as headers, by the header's name, which begins with `plinth-`. A text, number, boolean or list of those; without the claim there is no header.",
      }),
  })
  .meta({ description: "An issuer of JSON Web Tokens." });

const tokenFrom = z.strictObject({
  header: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, "expected the name of a header in lower case")
    .refine(
      (name) => handlingOf(name) === "pass" && name !== "cookie",
      "that header is not for tokens; leave `tokenFrom` out for Authorization",
    )
    .optional()
    .meta({ description: "A header that holds the token and nothing else, in lower case." }),
  cookie: z
    .string()
    .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/, "expected the name of a cookie")
    .optional()
    .meta({ description: "A cookie that holds the token. Browsers send it whoever asks: set it with SameSite." }),
});

export type TokenFromConfig = z.output<typeof tokenFrom>;

/** What a route asks of its callers' tokens. */
export const authSchema = z.strictObject({
  scopes: wordsSchema(scope).default([]).meta({
    description:
      "Scopes of which the token must have all, or `{ any: [...] }` of which it must have one. None: any valid token will do.",
  }),
  roles: wordsSchema(role).default([]).meta({
    description:
      "Roles of which the token must have all, or `{ any: [...] }`; they stand in the provider's `rolesClaim`.",
  }),
  claims: ruleSchema(3).optional().meta({
    description:
      "A rule about claims: `{ claim, equals | oneOf | contains }`, or `any` or `all` of several, up to 3 deep.",
  }),
  tokenFrom: tokenFrom.optional().meta({
    description:
      "Where the token comes from, a `header` or a `cookie`, and from nowhere else; one there and another in Authorization are refused. Default: `Authorization: Bearer`.",
  }),
  forwardToken: z
    .boolean()
    .default(false)
    .meta({ description: "Whether the service gets the token too. Default: only what was read from it." }),
  introspect: introspectSchema,
  authorize: authorizeSchema,
});

export type AuthConfig = z.output<typeof authSchema>;

/** Everything that the schema cannot say against what a route asks, with where in `auth` it stands. */
export function authProblems(auth: AuthConfig): readonly (readonly [path: readonly PropertyKey[], problem: string])[] {
  const { claims, tokenFrom: from } = auth;
  const faults = claims ? ruleProblems(claims, ["claims"]) : [];
  if (from && (from.header === undefined) === (from.cookie === undefined))
    return [...faults, [["tokenFrom"], "expected one of `header` and `cookie`"]];
  return faults;
}

function ruleProblems(
  rule: ClaimRuleConfig,
  at: readonly PropertyKey[],
): (readonly [path: readonly PropertyKey[], problem: string])[] {
  const { claim, any, all } = rule;
  if ([claim, any, all].filter((part) => part !== undefined).length !== 1)
    return [[at, "expected one of `claim`, `any` and `all`"]];
  const tests = [rule.equals, rule.oneOf, rule.contains].filter((part) => part !== undefined).length;
  if (tests !== (claim === undefined ? 0 : 1))
    return [
      [at, claim === undefined ? "has no `claim` to look at" : "expected one of `equals`, `oneOf` and `contains`"],
    ];
  return [
    ...(any ?? []).flatMap((inner, index) => ruleProblems(inner, [...at, "any", index])),
    ...(all ?? []).flatMap((inner, index) => ruleProblems(inner, [...at, "all", index])),
  ];
}
