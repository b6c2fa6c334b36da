import { AppError, z } from "@plinth/kernel";
import type { HttpRoutes } from "@plinth/transport";
import type { NoteStore } from "./store.ts";

const note = z
  .object({ id: z.uuid(), text: z.string(), createdAt: z.iso.datetime().describe("UTC.") })
  .meta({ id: "Note" });
const digest = z.object({ greeting: z.string(), notes: z.int() });
const noteId = z.object({ id: z.uuid("must be a UUID") });
// A fault left in on purpose, for the walk-through: PostgreSQL keeps no U+0000 in a text, and nothing here looks for one.
const newNote = z.strictObject({
  text: z.string().trim().min(1, "must not be empty").max(10_000, "must have at most 10000 characters"),
});

/** @param notes - Gives those of the request's caller. */
export const noteRoutes =
  (notes: () => Promise<NoteStore>): HttpRoutes =>
  (app) => {
    const config = { openapi: { tags: ["notes"] } };
    const listed = z.object({ notes: z.array(note) });
    app.get("/notes", { config, schema: { response: { 200: listed } } }, async () => {
      const own = await notes();
      return { notes: await own.list() };
    });

    app.get("/notes/digest", { config, schema: { response: { 200: digest } } }, async () => {
      const own = await notes();
      return own.digest();
    });

    app.get(
      "/notes/:id",
      { config, schema: { params: noteId, response: { 200: note } } },
      async ({ params: { id } }) => {
        const own = await notes();
        return (await own.find(id)) ?? notFound(id);
      },
    );

    app.post("/notes", { config, schema: { body: newNote, response: { 201: note } } }, async (request, reply) => {
      const own = await notes();
      const added = await own.add(request.body.text);
      return reply.code(201).header("location", `/notes/${added.id}`).send(added);
    });

    const removed = { params: noteId, response: { 204: z.undefined() } };
    app.delete("/notes/:id", { config, schema: removed }, async ({ params: { id } }, reply) => {
      const own = await notes();
      if (!(await own.remove(id))) notFound(id);
      return reply.code(204).send();
    });
  };

function notFound(id: string): never {
  throw new AppError("ERR_NOTES_NOT_FOUND", "not_found", `there is no note ${id}`);
}
