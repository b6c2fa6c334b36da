import { didYouMean } from "@plinth/kernel";
import { z } from "zod";
import { handlingOf } from "../headers/names.ts";

const headerName = z
  .string()
  .regex(/^[A-Za-z0-9!#$%&'*+.^`|~-]{1,64}$/, "expected the name of a header")
  .refine((name) => handlingOf(name) === "pass", "expected a header that reaches services")
  .transform((name) => name.toLowerCase());

const keyPart = z.union([
  z.enum(["subject", "address", "route"]),
  z.strictObject({
    claim: z.string().min(1).max(128).meta({ description: "Claim of the token: text, a number or a boolean." }),
  }),
  z.strictObject({
    header: headerName.meta({ description: "Header of the request. Clients choose what they send." }),
  }),
  z.strictObject({
    apiKey: headerName.meta({ description: "Header that holds an API key; only its hash is kept." }),
  }),
]);

const limitFields = {
  limit: z
    .int()
    .min(1)
    .max(1_000_000)
    .meta({ description: "How many may go in any stretch of time as long as the window." }),
  windowMs: z.int().min(1).max(86_400_000).meta({ description: "Length of the window, in ms." }),
};

export const rateLimitSchema = z
  .strictObject({
    ...limitFields,
    burst: z.strictObject(limitFields).optional().meta({
      description:
        "How many of them may go in a shorter window. Counted as a limit of its own, with `-burst` behind the name. Default: all at once.",
    }),
    by: z
      .union([keyPart, z.array(keyPart).min(1).max(4)])
      .default("subject")
      .meta({
        description:
          "Whose requests count together: `subject` of the token, client `address` (IPv6 by /64), `route`, a `claim`, a `header`, an `apiKey`, or several of them combined. Where there is none it is the address.",
      }),
    maxKeys: z
      .int()
      .min(2)
      .max(10_000_000)
      .default(100_000)
      .meta({ description: "Callers remembered in this process; past that the longest unseen are forgotten." }),
    shadow: z.boolean().default(false).meta({
      description: "Whether it only counts, and the access log and metrics tell whom it would have refused.",
    }),
    shared: z.boolean().default(true).meta({
      description: "Whether all gateways count together, when `redis.url` is set.",
    }),
    onStoreFailure: z.enum(["open", "closed", "localShare"]).default("localShare").meta({
      description:
        "What happens while Redis does not answer: everything goes, nothing does (503), or each gateway lets the limit divided by the gateways there are through.",
    }),
  })
  .meta({ description: "A limit of its own for each caller, by a sliding window." });

export type RateLimitConfig = z.output<typeof rateLimitSchema>;
export type KeyPart = z.output<typeof keyPart>;

/** What a route says of its limits. @param name - Of a limit under `rateLimits`. */
export const routeLimitFields = (name: z.ZodString) => ({
  rateLimit: z
    .union([name, rateLimitSchema, z.array(name).min(1).max(8)])
    .optional()
    .meta({
      description:
        "A limit for this route, or names of those under `rateLimits` that it shares: all must allow a request, and if one refuses none counts it.",
    }),
  rateLimitCost: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(1)
    .meta({ description: "How many a request of this route counts for in its limits." }),
});

/** What a route says of how many at one time, and of what may be refused first. */
export const loadFields = {
  concurrency: z
    .strictObject({
      maxInFlight: z
        .int()
        .min(1)
        .max(1_000_000)
        .meta({ description: "Requests under way at one time, of all workers together." }),
      maxQueue: z.int().min(0).max(1_000_000).default(0).meta({
        description:
          "So many more wait for a place. Once the first has waited for half of the time, the latest comes first.",
      }),
      maxWaitMs: z.int().min(1).max(600_000).default(1_000).meta({ description: "None waits longer, in ms." }),
    })
    .optional()
    .meta({ description: "How many requests of this route go at one time. WebSockets count until they are open." }),
  importance: z.enum(["low", "normal", "high", "critical"]).default("normal").meta({
    description: "Which requests are refused first while the gateway has too much to do: the less important.",
  }),
};

export type Importance = z.output<typeof loadFields.importance>;

/** What the checks look at of a route. */
interface LimitedRoute {
  readonly name: string;
  readonly rateLimit?: string | readonly string[] | RateLimitConfig | undefined;
  readonly rateLimitCost: number;
}

/** What is wrong with the limits that routes share. */
export function sharedLimitProblems(
  limits: readonly (readonly [string, unknown])[],
  fault: (path: readonly PropertyKey[], problem: string) => void,
): void {
  const names = limits.map(([name]) => name);
  for (const [name, given] of limits) {
    const parsed = rateLimitSchema.safeParse(given);
    if (parsed.success)
      limitProblems(name, parsed.data, names, (path, problem) => fault(["rateLimits", name, ...path], problem));
  }
}

/** What is wrong with the limits of one route. */
export function routeLimitProblems(
  { name, rateLimit, rateLimitCost }: LimitedRoute,
  limits: readonly (readonly [string, unknown])[],
  fault: (path: readonly PropertyKey[], problem: string) => void,
): void {
  const names = limits.map(([known]) => known);
  if (rateLimit === undefined) {
    if (rateLimitCost !== 1) fault(["rateLimitCost"], "there is no `rateLimit` that it would count in");
    return;
  }
  if (typeof rateLimit === "object" && "limit" in rateLimit) {
    if (names.includes(name))
      fault(["rateLimit"], `there is a ${JSON.stringify(name)} under rateLimits, which would count with it`);
    limitProblems(name, rateLimit, names, (path, problem) => fault(["rateLimit", ...path], problem));
    costProblem(name, rateLimit, rateLimitCost, fault);
    return;
  }
  const wanted = typeof rateLimit === "string" ? [rateLimit] : rateLimit;
  for (const [index, each] of wanted.entries()) {
    const at = typeof rateLimit === "string" ? ["rateLimit"] : ["rateLimit", index];
    const given = limits.find(([known]) => known === each);
    if (!given) fault(at, `there is no ${JSON.stringify(each)} under rateLimits${didYouMean(each, names)}`);
    else if (wanted.indexOf(each) < index) fault(at, `${JSON.stringify(each)} stands here twice`);
    const parsed = rateLimitSchema.safeParse(given?.[1]);
    if (parsed.success) costProblem(each, parsed.data, rateLimitCost, fault);
  }
}

function limitProblems(
  name: string,
  { limit, windowMs, burst }: RateLimitConfig,
  names: readonly string[],
  fault: (path: readonly PropertyKey[], problem: string) => void,
): void {
  if (!burst) return;
  if (burst.limit >= limit) fault(["burst", "limit"], `must be below the limit of ${limit}, else it limits nothing`);
  if (burst.windowMs >= windowMs) fault(["burst", "windowMs"], `must be below the window of ${windowMs} ms`);
  if (names.includes(`${name}-burst`))
    fault(["burst"], `there is a "${name}-burst" under rateLimits, which would count with it`);
}

function costProblem(
  name: string,
  { limit, burst }: RateLimitConfig,
  cost: number,
  fault: (path: readonly PropertyKey[], problem: string) => void,
): void {
  const most = Math.min(limit, burst?.limit ?? limit);
  if (cost > most)
    fault(
      ["rateLimitCost"],
      `is more than the ${most} that ${JSON.stringify(name)} ever lets through, so no request would go`,
    );
}
