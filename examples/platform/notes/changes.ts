import { type Counter, metrics, provider, token } from "@plinth/kernel";

/** Counts what becomes of notes: `added`, `removed` by their subject, `purged` for their age. */
export type Changes = Counter<"change">;

export const changes = token("notes.changes").of<Changes>();

export const provideChanges = provider({
  provides: changes,
  needs: { own: metrics },
  create: ({ own }) => own.counter({ name: "notes_changes_total", help: "Notes added and gone.", labels: ["change"] }),
});
