import { type AppTask, messageOf, OptionError, type TaskResult } from "@plinth/kernel";
import { z } from "zod";
import type { Database } from "../database.ts";
import { DatabaseError } from "../errors.ts";
import type { MigrationState } from "./plan.ts";
import type { MigrationStep } from "./runner.ts";

const argsSchema = z.strictObject({
  action: z.enum(["up", "down", "status"]),
  to: z.string().min(1).optional(),
  steps: z.int().min(1).optional(),
  dryRun: z.boolean().optional(),
});
type Arguments = z.infer<typeof argsSchema>;

/**
 * What `plinth migrate` asks of an app, for one of its databases.
 * @param open - Gives the database, not connected.
 */
export function migrationsTask(subject: string, open: () => Database): AppTask {
  return {
    name: "migrate",
    subject,
    async run(given, { signal }) {
      const { data: args, error } = argsSchema.safeParse(given);
      if (!args) throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", `migrate: ${z.prettifyError(error)}`);
      const db = open();
      try {
        return await carryOut(subject, db, args, signal);
      } catch (thrown) {
        throw withReason(thrown);
      } finally {
        await db.close({ signal: AbortSignal.abort() });
      }
    },
  };
}

async function carryOut(subject: string, db: Database, args: Arguments, signal: AbortSignal): Promise<TaskResult> {
  const { action, to, steps, dryRun = false } = args;
  const facts = { database: subject, schema: db.schema };
  const head = `${subject}, schema ${db.schema}:`;
  if (action === "status") {
    const states = await db.migrationStatus({ signal });
    return {
      text: toText(head, states.map(stateLine), "no migrations"),
      data: { ...facts, migrations: states },
      faults: states
        .filter(({ status }) => refused.has(status))
        .map(({ name, status }) => `${name} is ${wordFor(status)}`),
    };
  }
  // makes the schema where it is absent, and waits for a server that starts
  if (action === "up" && !dryRun) await db.connect({ signal });
  const done =
    action === "up" ? await db.migrate({ to, dryRun, signal }) : await db.rollback({ to, steps, dryRun, signal });
  return {
    text: toText(
      head,
      done.flatMap((step) => stepLines(step, dryRun)),
      "nothing to do",
    ),
    data: { ...facts, dryRun, migrations: done },
    faults: [],
  };
}

/** Of a server that cannot be reached, the cause says why. */
function withReason(error: unknown): unknown {
  if (!(error instanceof DatabaseError) || error.code !== "ERR_DATABASE_UNAVAILABLE") return error;
  if (error.cause === undefined || error.message.includes(messageOf(error.cause))) return error;
  return new DatabaseError(error.code, error.status, `${error.message}: ${messageOf(error.cause)}`, { cause: error });
}

/** What `up` would refuse. */
const refused: ReadonlySet<string> = new Set(["dirty", "drifted", "missing", "out_of_order"]);

function wordFor(status: MigrationState["status"]): string {
  return status.replaceAll("_", " ");
}

function stateLine({ name, status, appliedAt, tookMs, reversible }: MigrationState): string {
  const facts = [appliedAt, tookMs === undefined ? undefined : `${tookMs} ms`, reversible ? undefined : "no way down"];
  return [wordFor(status).padEnd(12), name, ...facts.filter((fact) => fact !== undefined)].join("  ");
}

function stepLines({ name, direction, tookMs, statements }: MigrationStep, dryRun: boolean): readonly string[] {
  const what = direction === "up" ? (dryRun ? "would apply" : "applied") : dryRun ? "would take back" : "took back";
  const how = tookMs === undefined ? "not tried: not all can run in a transaction" : `${tookMs} ms`;
  const shown = (statements ?? []).map((statement) => `    ${statement.replaceAll("\n", "\n    ")};`);
  return [`${what}  ${name}  ${how}`, ...shown];
}

function toText(head: string, lines: readonly string[], none: string): string {
  return `${[head, ...(lines.length > 0 ? lines : [none]).map((line) => `  ${line}`)].join("\n")}\n`;
}
