// pg on its own pool.
import { Pool } from "pg";
import { measureDatabase } from "./measure.ts";
import { benchServer, connections } from "./open.ts";

const server = await benchServer();
const pool = new Pool({ connectionString: server.url, max: connections });

await measureDatabase({
  async select(id) {
    const { rows } = await pool.query<{ text: string }>("select id, text, stars from notes where id = $1", [id]);
    return rows[0]?.text ?? "";
  },
  async transaction(id) {
    const client = await pool.connect();
    try {
      await client.query("begin");
      const { rows } = await client.query<{ id: number }>("insert into moves (note) values ($1) returning id", [id]);
      await client.query("update notes set stars = stars + $1 where id = $2", [1, id]);
      await client.query("delete from moves where id = $1", [rows[0]?.id]);
      await client.query("commit");
    } catch (error) {
      await client.query("rollback");
      throw error;
    } finally {
      client.release();
    }
  },
  async hold() {
    await pool.query("select pg_sleep(0.001)");
  },
});
await pool.end();
await server.stop();
