import type { Database } from "@plinth/database";
import type { NotesTables } from "./tables.ts";

export interface Note {
  readonly id: string;
  readonly text: string;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
}

const maxListed = 100;

/** The notes of one subject: made for each request, so that no call can reach those of another. */
export class NoteStore {
  readonly #db: Database<NotesTables>;
  readonly #subject: string;

  constructor(db: Database<NotesTables>, subject: string) {
    this.#db = db;
    this.#subject = subject;
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
    return toNote(row);
  }

  /** @returns Whether there was one. */
  async remove(id: string): Promise<boolean> {
    const { numDeletedRows } = await this.#db.kysely
      .deleteFrom("note")
      .where("subject", "=", this.#subject)
      .where("id", "=", id)
      .executeTakeFirstOrThrow();
    return numDeletedRows > 0n;
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
