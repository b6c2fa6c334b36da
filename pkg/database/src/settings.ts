import { defineSettings, secretString } from "@plinth/kernel";
import { z } from "zod";
import { databaseDefaults } from "./options.ts";
import { poolerModes } from "./postgres/pooler.ts";
import { schemaPattern } from "./schema-name.ts";

const timer = (min: number, description: string): z.ZodNumber =>
  z.int().min(min).max(2_147_483_647).meta({ description });

/** One service's database. Variables: `PLINTH_DATABASE_URL`, `PLINTH_DATABASE_MAX_CONNECTIONS`, … */
export const databaseSettings = defineSettings(
  "database",
  z
    .strictObject({
      url: secretString("postgres://user:password@host:5432/database. Wins over `embedded`.").optional(),
      schema: z
        .string()
        .regex(schemaPattern)
        .optional()
        .meta({ description: "The service's own schema. Default: the app's name with _ for each hyphen." }),
      createSchema: z.boolean().default(true).meta({ description: "Create the schema at start where it is absent." }),
      pooler: z.enum(poolerModes).default("none").meta({
        description:
          'What stands before the server: "none"; "session" or "transaction", as the pool_mode of a PgBouncer says.',
      }),
      migrateOnStart: z.boolean().default(true).meta({ description: "Apply pending migrations at start." }),
      embedded: z
        .boolean()
        .default(false)
        .meta({ description: "Without a url: start a PostgreSQL of its own, for development." }),
      embeddedDataDir: z
        .string()
        .min(1)
        .default(".cache/postgres")
        .meta({ description: "Where the embedded PostgreSQL keeps its data, from the working directory." }),
      hosts: z.enum(["writable", "any"]).optional().meta({
        description:
          "Of several hosts in `url`: one that takes writes, or whichever answers. Default: `target_session_attrs` of the URL, else writable.",
      }),
      passwordFile: z
        .string()
        .min(1)
        .optional()
        .meta({ description: "A file with the password, read for each new connection; wins over the URL's." }),
      tls: z
        .strictObject({
          mode: z.enum(["verify-full", "unverified", "off"]).optional().meta({
            description:
              "Whether connections are encrypted, and the server's certificate checked. Default: `sslmode` of the URL, else verify-full, and off on this machine.",
          }),
          caFile: z
            .string()
            .min(1)
            .optional()
            .meta({ description: "Authorities to trust, in PEM, or `system` for the machine's. Default: Node's own." }),
          certFile: z.string().min(1).optional().meta({ description: "Certificate to show to the server, in PEM." }),
          keyFile: z.string().min(1).optional().meta({ description: "The key of `certFile`, in PEM." }),
          serverName: z
            .string()
            .min(1)
            .optional()
            .meta({ description: "The name that the server's certificate must have. Default: the host." }),
        })
        .optional(),
      minConnections: z
        .int()
        .min(0)
        .max(1_000)
        .default(databaseDefaults.minConnections)
        .meta({ description: "Connections that are kept open, also unused." }),
      maxConnections: z
        .int()
        .min(1)
        .max(1_000)
        .default(databaseDefaults.maxConnections)
        .meta({ description: "Most connections open at once; the health check has one beside them." }),
      acquireTimeoutMs: timer(1, "How long a query waits for a free connection, in ms.").default(
        databaseDefaults.acquireTimeoutMs,
      ),
      maxWaiting: z
        .int()
        .min(0)
        .default(databaseDefaults.maxWaiting)
        .meta({ description: "Queries that may wait for a connection at once; more are refused at once." }),
      connectTimeoutMs: timer(1, "How long opening a connection may take, in ms.").default(
        databaseDefaults.connectTimeoutMs,
      ),
      idleTimeoutMs: timer(1, "A connection unused for so long is closed, in ms.").default(
        databaseDefaults.idleTimeoutMs,
      ),
      maxLifetimeMs: timer(0, "A connection is replaced at this age, ±10 %, in ms; 0 for never.").default(
        databaseDefaults.maxLifetimeMs,
      ),
      maxHeldMs: timer(0, "A connection held for longer is warned of, once, in ms; 0 for never.").default(
        databaseDefaults.maxHeldMs,
      ),
      connectWaitMs: timer(
        0,
        "How long the start goes on trying while the server cannot be reached, in ms; 0 tries once.",
      ).default(databaseDefaults.connectWaitMs),
      statementTimeoutMs: timer(0, "The server ends a longer statement, in ms; 0 leaves the server's limit.").default(
        databaseDefaults.statementTimeoutMs,
      ),
      idleInTransactionTimeoutMs: timer(
        0,
        "The server ends a transaction that does nothing for so long, in ms; 0 leaves the server's limit.",
      ).default(databaseDefaults.idleInTransactionTimeoutMs),
      migrationLockTimeoutMs: timer(0, "How long migrations wait for those of another instance, in ms.").default(
        databaseDefaults.migrationLockTimeoutMs,
      ),
      slowQueryMs: z
        .number()
        .min(0)
        .default(databaseDefaults.slowQueryMs)
        .meta({ description: "A statement that takes as long is logged, without values, in ms." }),
      traceComments: z
        .boolean()
        .default(false)
        .meta({ description: "Name the trace of a sampled statement in a comment at its end." }),
      checkIntervalMs: timer(
        10,
        "How often the health check asks the server, in ms. Default: health.intervalMs.",
      ).optional(),
      checkTimeoutMs: timer(
        1,
        "How long the server may take to answer the health check, in ms. Default: health.timeoutMs.",
      ).optional(),
    })
    .refine(({ url, embedded }) => url !== undefined || embedded, {
      path: ["url"],
      message: "expected the URL of a PostgreSQL, or `embedded: true` for development",
    }),
);
