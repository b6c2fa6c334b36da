import { type Database, type DatabaseOptions, type Generated, openDatabase } from "@plinth/database";
import { startTestPostgres } from "@plinth/database/testing";
import { required } from "../ready.ts";

export const connections = 10;
/** Rows of `notes`, whose keys begin with 1. */
export const keys = 10_000;

export interface Tables {
  notes: { id: number; text: string; stars: number };
  moves: { id: Generated<number>; note: number };
}

export function openBench(url: string, options: Partial<DatabaseOptions> = {}): Database<Tables> {
  return openDatabase<Tables>({ url, schema: "bench", maxConnections: connections, ...options });
}

/** Where the server of this bench is; to be let go of at the end. */
export function benchServer() {
  return startTestPostgres(required("DATA_DIR"));
}
