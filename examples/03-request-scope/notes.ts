import { AppError, current, defineModule, type Logger, logger, provider, token, z } from "@plinth/kernel";
import { httpRoutes } from "@plinth/transport";
import { currentUser, type User } from "./users.ts";

interface Note {
  readonly by: string;
  readonly text: string;
}

/** What one request changes: all of it, or nothing. */
class UnitOfWork {
  readonly #saved: Note[];
  readonly #user: User;
  readonly #log: Logger;
  readonly #added: Note[] = [];

  constructor(saved: Note[], user: User, log: Logger) {
    this.#saved = saved;
    this.#user = user;
    this.#log = log;
  }

  add(text: string): void {
    if (text.length > 20) throw new AppError("ERR_NOTE_LONG", "invalid_argument", "a note has at most 20 characters");
    this.#added.push({ by: this.#user.name, text });
  }

  commit(): void {
    this.#saved.push(...this.#added.splice(0));
  }

  /** What was not committed is gone. */
  close(): void {
    this.#log.info("unit of work closed", { user: this.#user.name, discarded: this.#added.length });
  }
}

const savedNotes = token("notes.saved").of<Note[]>();
const unitOfWork = token("notes.work").perRequest<UnitOfWork>();

const schema = { body: z.strictObject({ texts: z.array(z.string()) }) };

export const notesModule = defineModule("notes", [
  provider({ provides: savedNotes, private: true, create: (): Note[] => [] }),
  provider({
    provides: unitOfWork,
    private: true,
    needs: { saved: savedNotes, user: currentUser, log: logger },
    create: ({ saved, user, log }) => new UnitOfWork(saved, user, log),
    stop: (work) => work.close(), // when the request is over, however it ended
  }),
  provider({
    provides: httpRoutes,
    needs: { saved: savedNotes, user: current(currentUser), work: current(unitOfWork) },
    create:
      ({ saved, user, work }) =>
      (app) => {
        app.get("/notes", async () => {
          const { name } = await user();
          return saved.filter(({ by }) => by === name);
        });
        app.post("/notes", { schema }, async ({ body }, reply) => {
          const own = await work();
          for (const text of body.texts) own.add(text);
          own.commit();
          return reply.code(201).send({ added: body.texts.length });
        });
      },
  }),
]);
