import { AppError } from "@plinth/kernel";
import type { HttpRoutes } from "@plinth/transport";
import { z } from "zod";
import type { NoteStore } from "./store.ts";

const note = z.object({ id: z.string(), text: z.string(), createdAt: z.string() });
const noteId = z.object({ id: z.uuid("must be a UUID") });
const newNote = z.strictObject({
  text: z.string().trim().min(1, "must not be empty").max(10_000, "must have at most 10000 characters"),
});

/**
 * Notes of the caller. Whose they are comes from the gateway's identity header, which no client can send through it;
 * the service itself listens on the loopback only.
 */
export const noteRoutes =
  (store: NoteStore): HttpRoutes =>
  (app) => {
    app.get("/notes", { schema: { response: { 200: z.object({ notes: z.array(note) }) } } }, async (request) => ({
      notes: await store.list(subjectOf(request.headers)),
    }));

    app.get("/notes/:id", { schema: { params: noteId, response: { 200: note } } }, async (request) => {
      const { id } = request.params;
      return (await store.find(subjectOf(request.headers), id)) ?? notFound(id);
    });

    app.post("/notes", { schema: { body: newNote, response: { 201: note } } }, async (request, reply) => {
      const added = await store.add(subjectOf(request.headers), request.body.text);
      return reply.code(201).header("location", `/notes/${added.id}`).send(added);
    });

    app.delete("/notes/:id", { schema: { params: noteId } }, async (request, reply) => {
      const { id } = request.params;
      if (!(await store.remove(subjectOf(request.headers), id))) notFound(id);
      return reply.code(204).send();
    });
  };

function subjectOf(headers: Readonly<Record<string, unknown>>): string {
  const subject = headers["plinth-subject"];
  if (typeof subject === "string" && subject !== "") return subject;
  throw new AppError(
    "ERR_NOTES_NO_SUBJECT",
    "unauthenticated",
    "the request names no subject; call this service through the gateway",
  );
}

function notFound(id: string): never {
  throw new AppError("ERR_NOTES_NOT_FOUND", "not_found", `there is no note ${id}`);
}
