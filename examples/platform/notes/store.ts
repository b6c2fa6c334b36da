import type { Database } from "@plinth/database";
import type { NotesTables } from "./tables.ts";

export interface Note {
  readonly id: string;
  readonly text: string;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
}

const maxListed = 100;

/** The notes of every subject; no call reaches those of another. */
export class NoteStore {
  readonly #db: Database<NotesTables>;

  constructor(db: Database<NotesTables>) {
    this.#db = db;
  }

  /** The newest first, at most 100. */
  async list(subject: string): Promise<Note[]> {
    const rows = await this.#db.kysely
      .selectFrom("note")
      .select(["id", "text", "created_at"])
      .where("subject", "=", subject)
      .orderBy("created_at", "desc")
      .limit(maxListed)
      .execute();
    return rows.map(toNote);
  }

  async find(subject: string, id: string): Promise<Note | undefined> {
    const row = await this.#db.kysely
      .selectFrom("note")
      .select(["id", "text", "created_at"])
      .where("subject", "=", subject)
      .where("id", "=", id)
      .executeTakeFirst();
    return row && toNote(row);
  }

  async add(subject: string, text: string): Promise<Note> {
    const row = await this.#db.kysely
      .insertInto("note")
      .values({ subject, text })
      .returning(["id", "text", "created_at"])
      .executeTakeFirstOrThrow();
    return toNote(row);
  }

  /** @returns Whether there was one. */
  async remove(subject: string, id: string): Promise<boolean> {
    const { numDeletedRows } = await this.#db.kysely
      .deleteFrom("note")
      .where("subject", "=", subject)
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
