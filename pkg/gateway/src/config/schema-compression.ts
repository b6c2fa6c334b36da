import { z } from "zod";

const codings = ["zstd", "br", "gzip"] as const;
export type Coding = (typeof codings)[number];

const mediaType = z
  .string()
  .max(128)
  .regex(
    /^[a-z0-9!#$&^_.+-]+\/(?:\*|(?:\*\+)?[a-z0-9!#$&^_.+-]+)$/,
    "expected a media type in lower case, such as text/html, text/* or application/*+json",
  );

const usualTypes = [
  "text/html",
  "text/css",
  "text/plain",
  "text/csv",
  "text/xml",
  "text/markdown",
  "text/javascript",
  "application/javascript",
  "application/json",
  "application/*+json",
  "application/xml",
  "application/*+xml",
  "image/svg+xml",
];

const compressionSchema = z
  .union([
    z.boolean(),
    z.strictObject({
      codings: z
        .array(z.enum(codings))
        .min(1)
        .refine((given) => new Set(given).size === given.length, "expected each coding once")
        .default(["br", "gzip"])
        .meta({
          description: "Codings to offer; among those that a client likes equally well the first here is taken.",
        }),
      types: z.array(mediaType).min(1).max(64).default(usualTypes).meta({
        description:
          "Media types of replies: exact ones, `text/*` or `application/*+json`. `text/event-stream` must be named to be meant; gRPC never is.",
      }),
      minBytes: z.int().min(0).max(1_073_741_824).default(1_024).meta({
        description: "Replies whose length is known and less stay as they are, in bytes.",
      }),
      level: z.enum(["fast", "balanced", "small"]).default("fast").meta({
        description: "What to spend: gzip 1, 5, 9; br 1, 4, 8; zstd 1, 3, 9.",
      }),
      authenticated: z.boolean().default(false).meta({
        description:
          "Also for requests with a token or cookie, and replies that set one. Where such a reply holds both a secret and text of the request's, its length gives the secret away (BREACH).",
      }),
    }),
  ])
  .optional();

export const documentCompression = compressionSchema.meta({
  description:
    "Whether replies of services are compressed for clients that take that; `true` is `{}`. Default: they are not.",
});
export const routeCompression = compressionSchema.meta({ description: "In place of the document's." });

export type CompressionConfig = z.output<typeof compressionSchema>;
export type CompressionRules = Exclude<CompressionConfig, boolean | undefined>;

/** @returns Undefined where nothing is compressed. */
export function toCompressionRules(config: CompressionConfig): CompressionRules | undefined {
  if (config === undefined || config === false) return undefined;
  const rules = compressionSchema.parse(config === true ? {} : config);
  return typeof rules === "object" ? rules : undefined;
}

/** Settings of the process about it. */
export const compressionSettings = {
  maxCompressions: z.int().min(0).max(100_000).default(128).meta({
    description:
      "How many replies may be compressed at one time in this process, each with up to 2 MiB; more go as they are. At the level `small` one of br counts as 9, and of zstd as 6. 0: none.",
  }),
};
