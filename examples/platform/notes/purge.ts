import { type Database, database } from "@plinth/database";
import {
  type Clock,
  clock,
  defineSettings,
  type ErrorBus,
  errorBus,
  type Logger,
  logger,
  provider,
  type Scheduled,
  token,
  type ValueOf,
  z,
} from "@plinth/kernel";
import { type Changes, changes } from "./changes.ts";
import type { NotesTables } from "./tables.ts";

const dayMs = 86_400_000;

export const notesSettings = defineSettings(
  "notes",
  z.strictObject({
    keepDays: z.int().min(1).max(36_500).default(365).meta({ description: "Older notes are deleted." }),
    purgeIntervalMs: z.number().min(100).max(dayMs).default(3_600_000).meta({
      description: "From the end of one look for old notes to the next, in ms.",
    }),
  }),
);

interface PurgeParts {
  readonly db: Database<NotesTables>;
  readonly errors: ErrorBus;
  readonly changes: Changes;
  readonly clock: Clock;
  readonly log: Logger;
  readonly settings: ValueOf<typeof notesSettings>;
}

/** Deletes old notes, over and over. */
class Purge {
  readonly #parts: PurgeParts;
  readonly #attempt: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Scheduled | undefined;
  #isStopped = false;

  constructor(parts: PurgeParts) {
    this.#parts = parts;
    // what it throws is reported, and the next attempt comes all the same
    this.#attempt = parts.errors.guard("notes.purge", () => this.#purge());
  }

  start(): void {
    const { clock: time, settings } = this.#parts;
    this.#running = this.#attempt().then(() => {
      if (this.#isStopped) return;
      this.#next = time.schedule(settings.purgeIntervalMs, () => this.start(), { keepAlive: false });
    });
  }

  /** Resolves when none is under way, and none will be. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#next?.cancel();
    await this.#running;
  }

  async #purge(): Promise<void> {
    const { db, changes: counted, clock: time, log, settings } = this.#parts;
    const { numDeletedRows } = await db.kysely
      .deleteFrom("note")
      .where("created_at", "<", new Date(time.now() - settings.keepDays * dayMs))
      .executeTakeFirstOrThrow();
    const purged = Number(numDeletedRows);
    if (purged === 0) return;
    counted.inc({ change: "purged" }, purged);
    log.info("old notes purged", { purged, keepDays: settings.keepDays });
  }
}

export const providePurge = provider({
  provides: token("notes.purge").of<Purge>(),
  needs: { db: database, errors: errorBus, changes, clock, log: logger, settings: notesSettings },
  create: ({ db, log, ...parts }) => new Purge({ ...parts, db: db.withTables<NotesTables>(), log: log.named("notes") }),
  join: (purge) => purge.start(), // once the app is up: the start does not wait for it
  leave: (purge) => purge.stop(),
});
