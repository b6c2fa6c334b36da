import { z } from "zod";

const serviceName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, "expected a service name: letters, digits and any of . _ -");

const backend = z.strictObject({
  service: serviceName.optional().meta({ description: "Default: the route's `service`." }),
  version: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}\*?$/, "expected a version, perhaps with `*` at its end")
    .optional()
    .meta({ description: "Instances of this version alone; `2.*` takes `2.0` and `2.1.7`. Default: all." }),
  weight: z.int().min(0).max(1_000_000).meta({ description: "Its share of the requests, beside the others' weights." }),
});

/** Several services or versions that share the requests of a route. */
export const backendsSchema = z
  .array(backend)
  .min(1)
  .max(16)
  .refine((all) => all.some(({ weight }) => weight > 0), "expected a weight above 0")
  .optional()
  .meta({
    description: "Services and versions that share the requests by weight. One without an instance is passed over.",
  });

/** What keeps a caller with one of them. */
export const stickBySchema = z
  .union([
    z.literal("subject"),
    z.strictObject({
      header: z
        .string()
        .regex(/^[a-z0-9!#$%&'*+.^`|~-]+$/, "expected a header's name in lower case")
        .meta({ description: "A header of the request, in lower case." }),
    }),
    z.strictObject({
      cookie: z
        .string()
        .regex(/^[\w!#$%&'*+.^`|~-]+$/, "expected a cookie's name")
        .meta({ description: "A cookie of the request." }),
    }),
  ])
  .optional()
  .meta({
    description:
      "Requests with the same value stay with the same of `backends`: the token's `subject`, `{ header }` or `{ cookie }`. Without a value, and by default, each goes by chance.",
  });

export type BackendsConfig = z.output<typeof backendsSchema>;
export type StickBy = z.output<typeof stickBySchema>;

/** What is wrong with `backends` and `stickBy` of a route; undefined when nothing is. */
export function backendsProblem(
  backends: BackendsConfig,
  stickBy: StickBy,
  { hasToken, service }: { readonly hasToken: boolean; readonly service: string },
): string | undefined {
  if (stickBy === undefined) return twinProblem(backends, service);
  if (backends === undefined) return "has no `backends` to stay with";
  if (stickBy === "subject" && !hasToken) return "there is no subject without `auth`";
  return twinProblem(backends, service);
}

function twinProblem(backends: BackendsConfig, own: string): string | undefined {
  const keys = (backends ?? []).map(({ service = own, version = "" }) => `${service}@${version}`);
  return new Set(keys).size === keys.length ? undefined : "the same service and version stands in `backends` twice";
}
