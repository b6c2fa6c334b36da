// Question: how long does a test wait for a schema of its own on a real PostgreSQL?
//
// Peer:    what is written today: `create schema`, a pool with that search path, kysely's Migrator, and `drop schema`.
// Plinth:  `testDatabase` of `@plinth/database/testing`.
// Shape:   one schema after the other, the server on the other CPU without fsync; with one migration, and with ten, of three statements each.
// Target:  no more than by hand. The milliseconds are those of this machine; under 50 is what Plinth aims for.
import { join } from "node:path";
import { inProcess, type ProgramRow } from "../harness/in-process.ts";
import type { RowRole } from "../harness/question.ts";
import { nodeProgram } from "../subjects/programs.ts";

export const testSchema = inProcess({
  name: "test-schema",
  sentence: "How long does a test wait for a schema of its own on a real PostgreSQL?",
  subject: "plinth, 10 migrations",
  figures: [
    { key: "openMs", title: "open ms", digits: 1, compared: "to open one" },
    { key: "slowOpenMs", title: "open p95 ms", digits: 1 },
    { key: "closeMs", title: "drop ms", digits: 1 },
  ],
  effort: { rounds: 3, seconds: 8 },
  shape: { migrations: 10, statements: 3 },
  describe: ({ rounds, seconds = 0 }) =>
    `Migrations of three statements each; medians of ${rounds} rounds of ${seconds} s.`,
  targets: [{ row: "plinth, 10 migrations", comparedTo: "by hand, 10 migrations", atMost: 1 }],
  rows: async (lab) => {
    const directory = await lab.directory();
    await lab.companion(nodeProgram(join("database", "server.ts"), { DATA_DIR: directory }));
    const row = (who: string, role: RowRole, file: string, count: number): ProgramRow => ({
      name: `${who}, ${count} migration${count === 1 ? "" : "s"}`,
      role,
      launch: nodeProgram(join("test-schema", file), {
        DATA_DIR: directory,
        MIGRATIONS: String(count),
        NODE_ENV: "test",
      }),
    });
    return [
      row("by hand", "peer", "by-hand.ts", 1),
      row("by hand", "peer", "by-hand.ts", 10),
      row("plinth", "plinth", "plinth.ts", 1),
      row("plinth", "plinth", "plinth.ts", 10),
    ];
  },
});
