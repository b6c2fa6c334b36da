// What `whole-service.ts` is about: a route and an RPC on a database, and a gate that keeps it from being ready until SIGUSR2.
import { database, sql } from "@plinth/database";
import { defineSettings, type HookContext, logger, provider, token } from "@plinth/kernel";
import { httpRoutes, rpcService, rpcServices } from "@plinth/transport";
import { z } from "zod";
import { GreeterService } from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";

const greetingSettings = defineSettings(
  "greeting",
  z.strictObject({ word: z.string().default("Hello"), gated: z.stringbool().or(z.boolean()).default(false) }),
);

const gate = token("gate").of<{ open: (context: HookContext) => Promise<void> }>();

const provideGate = provider({
  provides: gate,
  needs: { settings: greetingSettings },
  create: ({ settings: { gated } }) => ({
    open: ({ signal }) =>
      new Promise<void>((resolve, reject) => {
        if (!gated) return resolve();
        process.once("SIGUSR2", () => resolve());
        signal.addEventListener("abort", reject, { once: true });
        process.stdout.write("the gate is closed\n");
      }),
  }),
  start: (own, context) => own.open(context),
});

const provideRoutes = provider({
  provides: httpRoutes,
  needs: { db: database, log: logger, greeting: greetingSettings, gate },
  create:
    ({ db, log, greeting }) =>
    (app) => {
      app.get("/hello", async () => {
        const {
          rows: [row],
        } = await db.query<{ readonly name: string }>(sql`select 'Ada' as name`);
        log.info("greeted", { name: row?.name });
        return { message: `${greeting.word}, ${row?.name}` };
      });
    },
});

const provideRpc = provider({
  provides: rpcServices,
  needs: { greeting: greetingSettings, gate },
  create: ({ greeting }) =>
    rpcService(GreeterService, { greet: ({ name }) => ({ message: `${greeting.word}, ${name}` }) }),
});

export const parts: [typeof provideGate, typeof provideRoutes, typeof provideRpc] = [
  provideGate,
  provideRoutes,
  provideRpc,
];
