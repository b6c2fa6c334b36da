import { z } from "zod";

const headerName = z.string().regex(/^[a-z0-9!#$%&'*+.^`|~-]+$/, "expected a header's name in lower case");
const cookieName = z.string().regex(/^[\w!#$%&'*+.^`|~-]{1,64}$/, "expected a cookie's name");

const hashBy = z.union([
  z.enum(["subject", "address"]),
  z.strictObject({ header: headerName.meta({ description: "A header of the request, in lower case." }) }),
  z.strictObject({ cookie: cookieName.meta({ description: "A cookie of the request." }) }),
]);

const sticky = z
  .strictObject({
    cookie: cookieName.meta({
      description: "Name of the cookie that the gateway sets; services that browsers know by one host need one each.",
    }),
    maxAgeMs: z.int().min(1_000).max(31_536_000_000).optional().meta({
      description: "How long the browser keeps it, in ms. Default: as long as it runs.",
    }),
    sameSite: z.enum(["Lax", "Strict", "None"]).default("Lax").meta({
      description: "Whether it comes with requests from other sites; `None` needs TLS.",
    }),
  })
  .optional()
  .meta({
    description:
      "A cookie keeps a caller with the instance that answered first, as long as that gets requests at all. It names none, is HttpOnly, and Secure where the client came by TLS.",
  });

/** Which instance of a service gets a request. */
export const balancingSchema = z
  .strictObject({
    policy: z.enum(["p2c", "roundRobin", "hash"]).default("p2c").meta({
      description:
        "`p2c`: the one of two by chance that lets requests wait less; `roundRobin`: in turn, by weight; `hash`: the same for the same `hashBy`, but for one that has too much to do.",
    }),
    hashBy: hashBy.optional().meta({
      description:
        "What `hash` goes by: the token's `subject`, the client's `address` (of IPv6 its /64), `{ header }` or `{ cookie }`. A request without it goes by `p2c`.",
    }),
    hashBound: z.number().gt(1).max(100).default(1.25).meta({
      description: "`hash`: none with more than 8 requests has more than so many times its share of them, above 1.",
    }),
    sticky,
    slowStartMs: z.int().min(0).max(3_600_000).default(10_000).meta({
      description: "How long an instance that joins or returns takes to get its whole share, in ms. 0: at once.",
    }),
    spillOver: z.number().min(1).max(1_000).optional().meta({
      description:
        "Instances of the gateway's own zone, `gateway.zone`, come first: others get a request where it would wait so many times less, or when half of those in the zone are out. Default: all zones are one.",
    }),
    subsetSize: z.int().min(1).max(65_535).optional().meta({
      description: "This process uses so many of the instances, other processes others. Default: all.",
    }),
  })
  .refine(({ policy, hashBy }) => (policy === "hash") === (hashBy !== undefined), {
    path: ["hashBy"],
    message: "expected with `policy: hash`, and only with that",
  })
  .optional()
  .meta({ description: "Which instance gets a request. Default: every default." });

export type BalancingConfig = NonNullable<z.output<typeof balancingSchema>>;
export type HashBy = z.output<typeof hashBy>;
export type StickyConfig = NonNullable<BalancingConfig["sticky"]>;
