// Identity, made from its fake behind the real servers, run as a program by the tests of what calls it. Every call that reaches it is a
// line in a file, which outlives the program however it is killed: so one that was done twice is seen. `POST /mood` says how it does.
import { appendFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { AppError, coreModule, createApp, defineModule, provider, z } from "@plinth/kernel";
import { auditService, identityService, type IdentityClient } from "@plinth/services";
import { fakeAudit, fakeIdentity } from "@plinth/services/testing";
import { connectRoutes, grpcModule, httpModule, httpRoutes, rpcServices } from "@plinth/transport";

const { BOOK = "/dev/null", INSTANCE = "identity" } = process.env;

const moodSchema = z.strictObject({
  /** How long a call takes at least, in milliseconds. */
  delayMs: z.number().default(0),
  /** The share of calls that fail. */
  failing: z.number().default(0),
  /** What those that fail over HTTP are told to wait, in seconds. */
  retryAfterSeconds: z.number().optional(),
  /** How large replies are. */
  replyBytes: z.number().default(0),
});
let mood = moodSchema.parse({});

/** A line is one write, whole or not there. */
const note = (kind: "read" | "write" | "left", id: string): void =>
  appendFileSync(BOOK, `${kind} ${id} ${INSTANCE} ${Date.now()}\n`);

async function serve(kind: "read" | "write", id: string, signal: AbortSignal | undefined): Promise<void> {
  note(kind, id);
  const { delayMs, failing } = mood;
  try {
    if (delayMs > 0) await delay(delayMs, undefined, signal ? { signal } : {});
  } catch (error) {
    note("left", id);
    throw error;
  }
  if (Math.random() < failing) throw AppError.unavailable("ERR_BUSY", "come again");
}

const fake = fakeIdentity();
const ada = await fake.createUser({ email: "ada@example.com" });
const identity: IdentityClient = {
  ...fake,
  // idempotent
  getUser: async (id, { signal } = {}) => {
    await serve("read", id, signal);
    return { ...ada, userId: id, attributes: { pad: "x".repeat(mood.replyBytes) } };
  },
  // not idempotent
  startEmailVerification: async (id, { signal } = {}) => {
    await serve("write", id, signal);
    return undefined;
  },
};
const audit = fakeAudit();
const services = [identityService(identity), auditService(audit)];

const countedModule = defineModule("counted", [
  ...services.map((service) => provider({ provides: rpcServices, create: () => service })),
  provider({
    provides: httpRoutes,
    create: () => async (app) => {
      app.post("/mood", { schema: { body: moodSchema } }, ({ body }) => {
        mood = body;
        return { pid: process.pid };
      });
      // the same services once more, which say when to come back
      await app.register(
        async (polite) => {
          polite.addHook("onSend", (_request, reply, payload, done) => {
            const { retryAfterSeconds } = mood;
            if (reply.statusCode === 503 && retryAfterSeconds !== undefined)
              reply.header("retry-after", String(retryAfterSeconds));
            done(null, payload);
          });
          await connectRoutes(services)(polite);
        },
        { prefix: "/polite" },
      );
    },
  }),
]);

process.exitCode = await createApp({
  name: "identity",
  modules: [coreModule, httpModule, grpcModule, countedModule],
}).run();
