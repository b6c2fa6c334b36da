import { z } from "zod";
import type { Pattern } from "../router/pattern.ts";

/** Whether Auth is asked about the tokens of a route. */
export const introspectSchema = z.enum(["also", "instead"]).optional().meta({
  description:
    "`also`: Auth is asked whether a token that is valid is still active. `instead`: Auth alone says whose token it is, which need be no JWT; it tells no roles and claims. Default: nobody is asked.",
});

const word = z
  .string()
  .regex(/^[a-z0-9_.:-]{1,128}$/, "expected at most 128 lower-case letters, digits and any of _ . : -");
const objectType = z
  .string()
  .regex(/^[a-z][a-z0-9_]{0,63}$/, "expected at most 64 lower-case letters, digits and _, beginning with a letter");

/** What Authz is asked about the caller of a route. */
export const authorizeSchema = z
  .strictObject({
    permission: word.optional().meta({ description: "What the caller must be permitted on the resource." }),
    relation: word.optional().meta({ description: "Or the relation that the caller must stand in to it." }),
    resource: z
      .strictObject({
        type: objectType.meta({ description: "Such as `note`." }),
        id: z
          .string()
          .regex(
            /^(?::[A-Za-z_]\w*|[A-Za-z0-9._:~@|-]{1,128})$/,
            "expected `:name` of a segment of the path, or an id of letters, digits and any of . _ : ~ @ | -",
          )
          .meta({ description: "`:name` of a segment that every path of the route has, or an id as it stands." }),
      })
      .meta({ description: "What it is about." }),
  })
  .optional()
  .meta({
    description:
      "Authz is asked whether the caller, by the token's subject, may: `permission` or `relation`, on `resource`. Default: nobody is asked.",
  });

export type AuthorizeConfig = NonNullable<z.output<typeof authorizeSchema>>;

/** How Auth and Authz are asked. */
export const authServicesSchema = z
  .strictObject({
    timeoutMs: z.int().min(1).max(60_000).default(500).meta({
      description:
        "Time for one answer, its retries included, in ms, as long as the route's time lasts. Then the request is refused, 503.",
    }),
    cacheMs: z.int().min(0).max(300_000).default(5_000).meta({
      description:
        "How long what Auth has said of a token counts, in ms: so long a token that was ended is still taken. 0: it is asked each time. What Authz says is never kept.",
    }),
    subjectType: objectType.default("user").meta({ description: "Type of the subject that Authz is asked about." }),
    audience: z.string().min(1).max(1_024).optional().meta({
      description: "Audience that a token must be for, of those that Auth is asked about. Default: that of Auth.",
    }),
  })
  .prefault({})
  .meta({
    description:
      "How the services Auth and Authz are asked, where routes say so. How they are reached stands in the settings' section `services`.",
  });

export type AuthServicesConfig = z.output<typeof authServicesSchema>;

/** What is wrong with `auth.introspect` and `auth.authorize` of a route, with where in `auth` it stands. */
export function authServiceProblems(
  auth: {
    readonly introspect?: "also" | "instead" | undefined;
    readonly authorize?: AuthorizeConfig | undefined;
    readonly claims?: unknown;
    readonly roles: readonly string[] | { readonly any: readonly string[] };
  },
  patterns: readonly Pattern[],
): (readonly [path: readonly PropertyKey[], problem: string])[] {
  const faults: (readonly [readonly PropertyKey[], string])[] = [];
  const { introspect, authorize, claims, roles } = auth;
  if (introspect === "instead") {
    if (claims !== undefined) faults.push([["claims"], "Auth tells no claims; take `introspect: also`"]);
    if ("any" in roles || roles.length > 0) faults.push([["roles"], "Auth tells no roles; take `introspect: also`"]);
  }
  if (!authorize) return faults;
  const { permission, relation, resource } = authorize;
  if ((permission === undefined) === (relation === undefined)) {
    faults.push([["authorize"], "expected one of `permission` and `relation`"]);
  }
  const name = segmentName(resource.id);
  const without = patterns.find(({ free }) => name !== undefined && !free.some((segment) => segment.name === name));
  if (without) faults.push([["authorize", "resource", "id"], `the path ${without.text} has no ":${name}"`]);
  return faults;
}

/** The name of a segment of the path; undefined for an id as it stands. */
export function segmentName(id: string): string | undefined {
  return id.startsWith(":") ? id.slice(1) : undefined;
}
