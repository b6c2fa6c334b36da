import type { Migration } from "@plinth/database";
import { sql } from "kysely";

export const notesMigrations: readonly Migration[] = [
  {
    name: "001_create_note",
    async up({ kysely }) {
      await kysely.schema
        .createTable("note")
        .addColumn("id", "uuid", (column) => column.primaryKey().defaultTo(sql`gen_random_uuid()`))
        .addColumn("subject", "text", (column) => column.notNull())
        .addColumn("text", "text", (column) => column.notNull())
        .addColumn("created_at", "timestamptz", (column) => column.notNull().defaultTo(sql`now()`))
        .execute();
      await kysely.schema.createIndex("note_by_subject").on("note").columns(["subject", "created_at desc"]).execute();
    },
  },
];
