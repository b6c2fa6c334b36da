import type { Generated } from "kysely";

/** What the migrations have made. */
export interface NotesTables {
  note: {
    id: Generated<string>;
    subject: string;
    text: string;
    created_at: Generated<Date>;
  };
}
