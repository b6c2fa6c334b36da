import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { after, before, it } from "node:test";
import type { EmbeddedPostgres } from "./embedded/index.ts";
import { sql } from "./index.ts";
import { startTestPostgres, testDatabase } from "./testing/index.ts";

let server: EmbeddedPostgres;
before(async () => void (server = await startTestPostgres()));
after(() => server.stop());

it("the README's example runs as it stands", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const [, example] = /```ts\n([^]*?)```/.exec(readme) ?? [];
  const use = `
    await app.start();
    const store = app.get(notes);
    const first = await store.add("one");
    const second = await store.add("two");
    await store.move(first.id, second.id);
    await app.stop();`;
  await using db = await testDatabase({ url: server.url });
  await promisify(execFile)(
    process.execPath,
    ["--conditions=plinth-source", "--input-type=module-typescript", "-e", `${example}${use}`],
    {
      cwd: fileURLToPath(new URL("..", import.meta.url)),
      env: { ...process.env, PLINTH_DATABASE_URL: server.url, PLINTH_DATABASE_SCHEMA: db.schema },
    },
  );
  assert.deepEqual((await db.query(sql`select id, text from notes`)).rows, [{ id: 2, text: "one" }]);
});
