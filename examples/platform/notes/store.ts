import type { Database } from "@plinth/database";
import { withSpan } from "@plinth/kernel";
import type { AuditRecorder } from "@plinth/services";
import type { RpcClient } from "@plinth/transport";
import type { GreeterService } from "../gen/plinth/examples/greeter/v1/greeter_pb.ts";
import type { Changes } from "./changes.ts";
import type { NotesTables } from "./tables.ts";

export interface Note {
  readonly id: string;
  readonly text: string;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
}

interface NoteStoreParts {
  readonly db: Database<NotesTables>;
  readonly subject: string;
  readonly changes: Changes;
  readonly audit: AuditRecorder;
  readonly greeter: RpcClient<typeof GreeterService>;
}

export interface Digest {
  readonly greeting: string;
  /** How many there are. */
  readonly notes: number;
}

const maxListed = 100;
/** No longer name is greeted. */
const maxNameLength = 100;

/** The notes of one subject: made for each request, so that no call can reach those of another. */
export class NoteStore {
  readonly #db: Database<NotesTables>;
  readonly #subject: string;
  readonly #changes: Changes;
  readonly #audit: AuditRecorder;
  readonly #greeter: NoteStoreParts["greeter"];

  constructor({ db, subject, changes, audit, greeter }: NoteStoreParts) {
    this.#db = db;
    this.#subject = subject;
    this.#changes = changes;
    this.#audit = audit;
    this.#greeter = greeter;
  }

  /** Asks the greeter and the database at once: both stand below one span of ours, and end with the request. */
  digest(): Promise<Digest> {
    return withSpan("make digest", {}, async () => {
      const [{ message: greeting }, { notes }] = await Promise.all([
        this.#greeter.greet({ name: this.#subject.slice(0, maxNameLength) }),
        this.#db.kysely
          .selectFrom("note")
          .select(({ fn }) => fn.countAll().as("notes"))
          .where("subject", "=", this.#subject)
          .executeTakeFirstOrThrow(),
      ]);
      return { greeting, notes: Number(notes) };
    });
  }

  /** The newest first, at most 100. */
  async list(): Promise<Note[]> {
    const rows = await this.#db.kysely
      .selectFrom("note")
      .select(["id", "text", "created_at"])
      .where("subject", "=", this.#subject)
      .orderBy("created_at", "desc")
      .limit(maxListed)
      .execute();
    return rows.map(toNote);
  }

  async find(id: string): Promise<Note | undefined> {
    const row = await this.#db.kysely
      .selectFrom("note")
      .select(["id", "text", "created_at"])
      .where("subject", "=", this.#subject)
      .where("id", "=", id)
      .executeTakeFirst();
    return row && toNote(row);
  }

  async add(text: string): Promise<Note> {
    const row = await this.#db.kysely
      .insertInto("note")
      .values({ subject: this.#subject, text })
      .returning(["id", "text", "created_at"])
      .executeTakeFirstOrThrow();
    this.#changes.inc({ change: "added" });
    await this.#tell("notes.add", row.id);
    return toNote(row);
  }

  /** @returns Whether there was one. */
  async remove(id: string): Promise<boolean> {
    const { numDeletedRows } = await this.#db.kysely
      .deleteFrom("note")
      .where("subject", "=", this.#subject)
      .where("id", "=", id)
      .executeTakeFirstOrThrow();
    const isRemoved = numDeletedRows > 0n;
    if (!isRemoved) return false;
    this.#changes.inc({ change: "removed" });
    await this.#tell("notes.remove", id);
    return true;
  }

  /** It takes no time and does not fail, whatever becomes of Audit. */
  #tell(action: string, id: string): Promise<void> {
    return this.#audit.record({
      actor: { type: "user", id: this.#subject },
      action,
      target: { type: "note", id },
      outcome: "success",
    });
  }
}

function toNote({
  id,
  text,
  created_at: createdAt,
}: {
  readonly id: string;
  readonly text: string;
  readonly created_at: Date;
}): Note {
  return { id, text, createdAt: createdAt.toISOString() };
}
