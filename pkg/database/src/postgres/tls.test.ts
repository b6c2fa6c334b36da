import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { it } from "node:test";
import { openDatabase } from "../database.ts";
import { assertThrown } from "../testing/until.ts";

for (const [what, answer, code, message] of [
  ["says no", "N", "ERR_DATABASE_TLS", /does not take TLS; turn ssl on there/],
  ["has no room", "E", "ERR_DATABASE_UNAVAILABLE", /refused the connection before TLS began: it has no room/],
  ["is no PostgreSQL", "HTTP/1.1 400 Bad Request", "ERR_DATABASE_UNAVAILABLE", /or is no PostgreSQL/],
] as const) {
  it(`a server that ${what} when it is asked for TLS is told of as that, and its socket is closed`, async () => {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const closed = Promise.withResolvers<unknown>();
    server.on("connection", (socket) => {
      socket.once("data", () => socket.write(answer));
      socket.on("error", () => {});
      socket.on("close", closed.resolve);
    });
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    const url = `postgres://u:p@127.0.0.1:${address.port}/x?sslmode=verify-full`;
    const db = openDatabase({ url, schema: "x", connectWaitMs: 0 });
    assertThrown(await db.connect().catch((error: unknown) => error), { code, message });
    await closed.promise;
    await db.close();
    server.close();
  });
}
