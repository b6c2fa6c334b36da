// A PostgreSQL of its own with a table of 10 000 rows, until SIGTERM.
import { sql } from "@plinth/database";
import { startTestPostgres } from "@plinth/database/testing";
import { required, tellReady, terminated } from "../ready.ts";
import { openBench } from "./open.ts";

const server = await startTestPostgres(required("DATA_DIR"));
const db = openBench(server.url);
await db.connect();
await db.query(sql`create table notes (id int primary key, text text not null, stars int not null)`);
await db.query(sql`insert into notes select n, 'note ' || n, 0 from generate_series(1, 10000) n`);
await db.query(sql`create table moves (id int generated always as identity primary key, note int not null)`);
await db.query(sql`alter role current_user set search_path = bench`);
await db.close();
tellReady(Number(new URL(server.url).port));
const alive = setInterval(() => {}, 60_000); // the server is a process apart, which keeps this one waiting for nothing
await terminated();
clearInterval(alive);
await server.stop();
