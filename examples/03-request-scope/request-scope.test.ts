import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { coreModule, provider, requestScopes } from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { httpModule, httpServer } from "@plinth/transport";
import { notesModule } from "./notes.ts";
import { directory, usersModule } from "./users.ts";

/** The real app on a free port, with a directory that knows whoever `known` names, by that name. */
async function startNotes(known: readonly string[]) {
  const asked: string[] = [];
  const ourDirectory = provider({
    provides: directory,
    create: () => ({
      find: async (token) => {
        asked.push(token);
        return known.includes(token) ? { name: token } : undefined;
      },
    }),
  });
  const app = await testApp({
    name: "notes",
    modules: [coreModule, httpModule, usersModule, notesModule],
    overrides: [ourDirectory],
    config: { defaults: { http: { port: 0 } } },
  });
  const url = `http://127.0.0.1:${app.get(httpServer).port}/notes`;
  const headersOf = (token: string) => ({ authorization: `Bearer ${token}`, "content-type": "application/json" });
  return {
    app,
    asked,
    read: (token: string) => fetch(url, { headers: headersOf(token) }),
    add: (token: string, ...texts: string[]) =>
      fetch(url, { method: "POST", headers: headersOf(token), body: JSON.stringify({ texts }) }),
    [Symbol.asyncDispose]: () => app.stop(),
  };
}

describe("03-request-scope", () => {
  it("gives each user his own notes, and asks the directory once for each request", async () => {
    await using notes = await startNotes(["grace", "edsger"]);
    assert.equal((await notes.add("grace", "milk", "bread")).status, 201);
    assert.deepEqual(await (await notes.read("grace")).json(), [
      { by: "grace", text: "milk" },
      { by: "grace", text: "bread" },
    ]);
    assert.deepEqual(await (await notes.read("edsger")).json(), []);
    assert.deepEqual(notes.asked, ["grace", "grace", "edsger"]);
  });

  it("answers 401 to whom the directory does not know", async () => {
    await using notes = await startNotes([]);
    const response = await notes.read("mallory");
    assert.equal(response.status, 401);
    assert.equal(JSON.parse(await response.text()).code, "ERR_USER_UNKNOWN");
  });

  it("saves nothing of a request that fails half way, and closes every unit of work", async () => {
    await using notes = await startNotes(["grace"]);
    assert.equal((await notes.add("grace", "milk", "far too long for a note")).status, 400);
    assert.deepEqual(await (await notes.read("grace")).json(), []);
    assert.equal((await notes.add("grace", "milk")).status, 201);
    await notes.app.stop(); // after which every request is over
    assert.deepEqual(
      notes.app.logged.withMessage("unit of work closed").map(({ user, discarded }) => ({ user, discarded })),
      [
        { user: "grace", discarded: 1 },
        { user: "grace", discarded: 0 },
      ],
    );
    assert.equal(notes.app.get(requestScopes).openCount, 0);
  });
});
