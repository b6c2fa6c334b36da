// Question: what does a statement cost a service through Plinth's database client with everything on, and is waiting for a connection fair?
//
// Floor:   pg on its own pool, texts written by hand.
// Peer:    kysely on pg's pool.
// Plinth:  `openDatabase` with metrics, spans of 1 % of the requests, and the log of slow statements; the same queries by kysely. Once more as a
//          request has it, with a signal that is listened to at each statement and a deadline.
// Shape:   10 connections to a PostgreSQL on the other CPU. CPU of the process: 20 tasks at once that each select one row of 10 000 by its key, or
//          run a transaction of an insert, an update and a delete. Waiting: 40 tasks at once for the 10 connections, each for a select that takes 1 ms.
// Targets: at most 1.2 times the CPU of bare kysely for each. The longest waits, p99, are at most 3 times the usual ones, p50.
import { join } from "node:path";
import { type ProgramRow, inProcess } from "../harness/in-process.ts";
import type { RowRole } from "../harness/question.ts";
import { nodeProgram } from "../subjects/programs.ts";

export const database = inProcess({
  name: "database",
  sentence: "What does a statement cost through Plinth's database client, and is waiting for a connection fair?",
  subject: "plinth",
  figures: [
    { key: "selectMicros", title: "select CPU µs", digits: 1, compared: "CPU of a select by key" },
    { key: "transactionMicros", title: "transaction CPU µs", digits: 1, compared: "CPU of a transaction of three" },
    { key: "waitMs", title: "wait p50 ms", digits: 2 },
    { key: "waitSpread", title: "p99 by p50", digits: 2 },
  ],
  effort: { rounds: 5, seconds: 9 },
  shape: { connections: 10, tasks: 20, waitingTasks: 40, rows: 10_000 },
  describe: ({ rounds, seconds = 0 }) =>
    `10 connections; 20 tasks at once, 40 where they wait; medians of ${rounds} rounds of ${seconds} s.`,
  targets: [
    { row: "plinth", comparedTo: "kysely", figure: "selectMicros", atMost: 1.2 },
    { row: "plinth", comparedTo: "kysely", figure: "transactionMicros", atMost: 1.2 },
    { row: "plinth", figure: "waitSpread", atMost: 3 },
  ],
  rows: async (lab) => {
    const where = { DATA_DIR: await lab.directory(), NODE_ENV: "production" };
    await lab.companion(nodeProgram(join("database", "server.ts"), where));
    const row = (
      name: string,
      role: RowRole,
      file: string,
      env: Readonly<Record<string, string>> = {},
    ): ProgramRow => ({
      name,
      role,
      launch: nodeProgram(join("database", file), { ...where, ...env }),
    });
    return [
      row("pg", "floor", "bare-pg.ts"),
      row("kysely", "peer", "bare-kysely.ts"),
      row("plinth", "plinth", "plinth.ts"),
      row("plinth, in a request", "plinth", "plinth.ts", { IN_REQUEST: "1" }),
    ];
  },
});
