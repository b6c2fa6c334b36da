import { z } from "zod";
import { handlingOf } from "../headers/names.ts";
import type { TranscodingConfig } from "../transcoding/bindings.ts";
import { transcodingMatchers } from "../transcoding/matchers.ts";
import { canonicalPath } from "../path.ts";
import { toConditions } from "../router/conditions.ts";
import type { Matcher } from "../router/entry.ts";
import { type Conflict, maxRivals } from "../router/leaf.ts";
import { type Pattern, parsePattern } from "../router/pattern.ts";
import { parseRewrite, type PathTemplate } from "../router/rewrite.ts";

const path = z.string().regex(/^\//, "expected a path that begins with /").meta({
  description:
    "`/notes` exactly, `/notes/:id` with one segment free, `/notes/:id<int>` or `<uuid>` of a type, `/hello/**` for a path and all below it.",
});

const valueRule = z.union([
  z.string().max(1_024),
  z.boolean(),
  z
    .strictObject({
      prefix: z.string().min(1).max(1_024).optional().meta({ description: "What the value begins with." }),
      suffix: z.string().min(1).max(1_024).optional().meta({ description: "What it ends with." }),
    })
    .refine(
      ({ prefix, suffix }) => prefix !== undefined || suffix !== undefined,
      "expected `prefix`, `suffix` or both",
    ),
]);

const headerName = z.string().regex(/^[a-z0-9!#$%&'*+.^`|~-]+$/, "expected a header's name in lower case");

/** Which requests a route is for. */
export const matchSchema = z.strictObject({
  path: z.union([path, z.array(path).min(1)]).meta({ description: "One pattern or several." }),
  methods: z
    .array(z.enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]))
    .min(1)
    .optional()
    .meta({ description: "Methods it takes; GET includes HEAD. Default: all but TRACE and CONNECT." }),
  host: z
    .string()
    .regex(/^(?:\*\.)?[a-z0-9.-]+$/, "expected a lower-case host name without port, or `*.` and one")
    .optional()
    .meta({
      description:
        "Host it is for, without port; `*.example.org` is every host below that one. Default: any that no other route names.",
    }),
  headers: z.record(headerName, valueRule).optional().meta({
    description:
      "Headers that a request must have, all of them: a value exactly, `true` for any, `false` for none, or `{ prefix, suffix }`. Lines of one name are joined by `, `.",
  }),
  query: z.record(z.string().min(1).max(256), valueRule).optional().meta({
    description: "Parameters that the query must have, in the same way. Of one that is repeated the first counts.",
  }),
});

export const prioritySchema = z.int().min(-1_000_000).max(1_000_000).default(0).meta({
  description: "The highest of the routes that match wins, whatever else they say. Default 0.",
});

export const rewriteSchema = z
  .strictObject({
    prefix: path.optional().meta({
      description: "What stands in place of the part of the path before `/**`. Only for patterns that end so.",
    }),
    path: path.optional().meta({
      description:
        "The whole path anew: `/v2/:id/x` takes `:id` from the pattern, `/**` at its end takes what the pattern's `/**` stands for.",
    }),
    host: z
      .string()
      .regex(/^[a-z0-9.-]{1,253}(?::\d{1,5})?$/, "expected a lower-case host name, perhaps with a port")
      .optional()
      .meta({ description: "Host for the service. Default: the client's, which is in x-forwarded-host in any case." }),
  })
  .refine(({ prefix, path: whole }) => prefix === undefined || whole === undefined, "has `prefix` and `path`; keep one")
  .optional()
  .meta({ description: "What the service gets in place of the client's path and host." });

export const trailingSlashSchema = z.enum(["strict", "ignore", "redirect"]).default("strict").meta({
  description:
    "Whether `/notes/` is another path than `/notes` (`strict`), the same (`ignore`), or answered with 308 to the one that the pattern has (`redirect`).",
});

/** The part of a route that says which requests it takes, and what becomes of their paths. */
export interface RoutingConfig {
  readonly match: z.output<typeof matchSchema>;
  readonly priority: number;
  readonly rewrite?: z.output<typeof rewriteSchema>;
  readonly grpc?: TranscodingConfig | undefined;
}

type OnProblem = (problem: string, path: readonly PropertyKey[]) => void;

/** Which requests a route is for, one for each of its patterns. */
export function matchersOf({ match, priority, rewrite, grpc }: RoutingConfig, onProblem: OnProblem): Matcher[] {
  const { methods, host, headers, query } = match;
  for (const name of Object.keys(headers ?? {})) {
    if (handlingOf(name) === "pass") continue;
    const problem = "the gateway deletes or manages this header, so no request can be told by it";
    onProblem(problem, ["match", "headers", name]);
  }
  const conditions = toConditions(headers, query);
  if (grpc) return transcodingMatchers({ grpc, match, priority }, conditions, onProblem);
  const several = typeof match.path !== "string";
  const texts = typeof match.path === "string" ? [match.path] : match.path;
  return texts.flatMap((text, index) => {
    const pattern = parsePattern(text);
    if (typeof pattern === "string") {
      onProblem(`${JSON.stringify(text)}: ${pattern}`, several ? ["match", "path", index] : ["match", "path"]);
      return [];
    }
    const template = templateOf(rewrite, pattern);
    if (typeof template === "string") onProblem(`${JSON.stringify(text)} ${template}`, ["rewrite"]);
    return [
      { pattern, methods, host, priority, conditions, rewrite: typeof template === "string" ? undefined : template },
    ];
  });
}

/** @returns What is wrong with a rewrite of the pattern, as text; undefined where no template rewrites it. */
function templateOf(rewrite: RoutingConfig["rewrite"], pattern: Pattern): PathTemplate | string | undefined {
  if (rewrite?.prefix !== undefined) {
    if (!pattern.isPrefix) return "does not end in /**, so there is no prefix to rewrite";
    const canonical = canonicalPath(rewrite.prefix);
    return canonical === rewrite.prefix ? undefined : "cannot be rewritten: `prefix` is not a path in canonical form";
  }
  const parsed = rewrite?.path === undefined ? undefined : parseRewrite(rewrite.path, pattern);
  return typeof parsed === "string" ? `cannot be rewritten: ${parsed}` : parsed;
}

/**
 * What is wrong with two routes between which a request could not choose.
 * @param first - Name of the route that was there before.
 */
export function conflictProblem({ first, second, kind }: Conflict<number>, name: string | undefined): string {
  if (first === second.route) return "stands in the same route twice";
  const other = `route ${first + 1}${name === undefined ? "" : ` (${name})`}`;
  if (kind === "same") return `${other} takes the same requests; give them different hosts, paths or methods`;
  if (kind === "overlap") {
    return `a request can meet what this and ${other} ask for, and neither asks for more; give one a higher priority`;
  }
  return `more than ${maxRivals} routes have this host and pattern, ${other} first; tell some apart by their paths`;
}
