import { z } from "zod";
import { balancingSchema } from "./schema-balancing.ts";
import { breakerSchema } from "./schema-breaker.ts";
import { capsSchema } from "./schema-caps.ts";
import { ejectionSchema } from "./schema-ejection.ts";
import { healthSchema } from "./schema-health.ts";
import { protocolSchema } from "./schema-protocol.ts";
import { staticSchema } from "./schema-static.ts";
import { upstreamTlsSchema } from "./schema-upstream-tls.ts";

/** What holds for all requests to one service, whichever route they come by. */
const service = z
  .strictObject({
    protocol: protocolSchema,
    tls: upstreamTlsSchema,
    static: staticSchema,
    health: healthSchema,
    ejection: ejectionSchema,
    breaker: breakerSchema,
    balancing: balancingSchema,
    caps: capsSchema,
  })
  .meta({ description: "How the gateway speaks with the instances of a service." });

/** By the name of the service; its versions share it. */
export const servicesSchema = z
  .record(
    z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, "expected a service name: letters, digits and any of . _ -"),
    service,
  )
  .default({})
  .meta({ description: "Settings of services by name; those of a service that stands here for its instances alone." });

export type ServiceConfig = z.output<typeof service>;

/** What routes say of services, by name. */
export interface ServiceUse {
  readonly used: ReadonlySet<string>;
  /** Those of which only some versions get requests of a route. */
  readonly versioned: ReadonlySet<string>;
}

/** What is wrong with the settings of a service; undefined when nothing is. */
export function serviceProblem(name: string, given: unknown, { used, versioned }: ServiceUse): string | undefined {
  // A service that no route leads to is most likely misspelt, and the settings meant for another.
  if (!used.has(name)) return "no route leads to this service";
  const parsed = service.safeParse(given);
  if (parsed.data?.static && versioned.has(name))
    return "a route's `backends` ask for a `version` of it, which instances in `static` have not";
  return undefined;
}
