import {
  clock,
  defineModule,
  defineSettings,
  healthChecks,
  logger,
  metrics,
  type Metrics,
  provider,
  token,
  type ValueOf,
} from "@plinth/kernel";
import { z } from "zod";
import { authenticator } from "../auth.ts";
import { JwtAuthenticator } from "./authenticator.ts";
import { createIssuers } from "./issuers.ts";
import { keySourceProblem, tokenProvider } from "./provider.ts";
import type { Issuer } from "./verifier.ts";

const issuerName = z
  .string()
  .regex(
    /^[a-z][a-z0-9-]{0,62}$/,
    "expected lower-case letters, digits and hyphens, beginning with a letter, at most 63",
  );

/** The section `auth` of a service's config. */
export const jwtSettings = defineSettings(
  "auth",
  z.strictObject({
    issuers: z
      .record(issuerName, tokenProvider)
      .superRefine((issuers, context) => {
        const named = new Map<string, string>();
        for (const [name, { issuer, jwks }] of Object.entries(issuers)) {
          const problem = keySourceProblem(jwks);
          if (problem !== undefined) context.addIssue({ code: "custom", path: [name, "jwks"], message: problem });
          const twin = named.get(issuer);
          if (twin !== undefined)
            context.addIssue({
              code: "custom",
              path: [name, "issuer"],
              message: `${twin} has the same issuer; one of them would never be asked`,
            });
          named.set(issuer, name);
        }
        if (named.size === 0)
          context.addIssue({ code: "custom", message: "expected at least one issuer: without one, no token is valid" });
      })
      .meta({ description: "Issuers of tokens by name; tokens of others are refused." }),
    maxCachedTokens: z
      .int()
      .min(2)
      .max(1_000_000)
      .default(10_000)
      .meta({ description: "Verified tokens remembered, each until it expires or the keys change." }),
    snapshots: z.string().min(1).optional().meta({
      description:
        "Folder where the last good key set of each issuer with a URL is kept, for a start while that is down. Default: none is.",
    }),
  }),
);

export type JwtSettings = ValueOf<typeof jwtSettings>;

const jwtAuthenticator = token("transport.jwt").of<JwtAuthenticator>();

const provideJwt = provider({
  provides: jwtAuthenticator,
  needs: { settings: jwtSettings, log: logger, metrics, clock },
  create: ({ settings: { issuers, maxCachedTokens, snapshots }, log, metrics: own, clock: time }) => {
    const fetches = own.counter({
      name: "auth_key_set_fetches_total",
      help: "Fetches of the key sets of token issuers.",
      labels: ["issuer", "outcome"],
    });
    const unknown = own.counter({
      name: "auth_key_set_unknown_keys_total",
      help: "Tokens whose key id is in no set at hand, by whether the issuer was asked for it.",
      labels: ["issuer", "outcome"],
    });
    const keepers = createIssuers(issuers, {
      clock: time,
      log: log.named("auth"),
      metrics: own,
      snapshots,
      onUnknown: (issuer, outcome) => unknown.inc({ issuer, outcome }),
      onFetch: (issuer, failure) => fetches.inc({ issuer, outcome: failure === undefined ? "ok" : "failed" }),
    });
    showAge(own, keepers);
    return new JwtAuthenticator({ issuers: keepers, clock: time, metrics: own, maxCachedTokens });
  },
  start: (jwt, { signal }) => jwt.start({ signal }),
  stop: (jwt) => jwt.close(),
});

function showAge(own: Metrics, issuers: readonly Issuer[]): void {
  own.gauge({
    name: "auth_key_set_from_snapshot",
    help: "Whether the key set in use is that of the snapshot on disk (1): its issuer has not been reached since the start.",
    labels: ["issuer"],
    aggregate: "max",
    collect: (gauge) => {
      for (const { name, keys } of issuers) gauge.set({ issuer: name }, keys.isFromSnapshot ? 1 : 0);
    },
  });
  own.gauge({
    name: "auth_key_set_age_seconds",
    help: "Age of the key set in use. Absent before the first one.",
    labels: ["issuer"],
    aggregate: "max",
    collect: (gauge) => {
      for (const { name, keys } of issuers)
        if (Number.isFinite(keys.ageMs)) gauge.set({ issuer: name }, keys.ageMs / 1e3);
    },
  });
}

/** Routes go on that need no token, and known tokens are still taken: it only tells. */
const provideKeysCheck = provider({
  provides: healthChecks,
  needs: { jwt: jwtAuthenticator },
  create: ({ jwt }) => ({
    name: "auth.keys",
    critical: false,
    run: () => {
      const without = jwt.issuersWithoutKeys();
      if (without.length > 0) throw new Error(`no key set of ${without.join(", ")} could be fetched so far`);
    },
  }),
});

/** Tells who calls by JSON Web Tokens, verified against the key sets of the issuers in the section `auth`. */
export const jwtModule = defineModule("auth", [
  provideJwt,
  provideKeysCheck,
  provider({ provides: authenticator, needs: { jwt: jwtAuthenticator }, create: ({ jwt }) => jwt }),
]);
