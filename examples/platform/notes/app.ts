import { join } from "node:path";
import { database, databaseModule, provideMigrations, readMigrations } from "@plinth/database";
import { coreModule, createApp, current, defineModule, provider, token } from "@plinth/kernel";
import { auditRecorder, auditRecorderModule, serviceClientsModuleOf } from "@plinth/services";
import { telemetryModule } from "@plinth/telemetry";
import { httpModule, httpRoutes, httpServer } from "@plinth/transport";
import type { AppFactory } from "../platform.ts";
import { reporterModules } from "../reporters.ts";
import { changes, provideChanges } from "./changes.ts";
import { greeter } from "./greeter.ts";
import { providePurge } from "./purge.ts";
import { noteRoutes } from "./routes.ts";
import { NoteStore } from "./store.ts";
import { provideAuthenticator, provideSubject, subject } from "./subject.ts";
import type { NotesTables } from "./tables.ts";

const notes = token("notes").perRequest<NoteStore>();

const notesModule = defineModule("notes", [
  provideMigrations(await readMigrations(new URL("./migrations/", import.meta.url))),
  provideAuthenticator,
  provideSubject,
  provideChanges,
  providePurge,
  provider({
    provides: notes,
    needs: { db: database, subject, changes, audit: auditRecorder, greeter: greeter.client },
    create: ({ db, ...parts }) => new NoteStore({ ...parts, db: db.withTables<NotesTables>() }),
  }),
  provider({ provides: httpRoutes, needs: { notes: current(notes) }, create: ({ notes }) => noteRoutes(notes) }),
]);

/** A service with a database. Without `PLINTH_DATABASE_URL` it brings a PostgreSQL of its own. */
export const createNotes: AppFactory = ({ environment, registryModule, config, stateDir }) => {
  const app = createApp({
    name: "notes",
    version: "1.0.0",
    modules: [
      coreModule,
      telemetryModule,
      registryModule,
      databaseModule,
      httpModule,
      serviceClientsModuleOf([greeter]),
      auditRecorderModule,
      ...reporterModules,
      notesModule,
    ],
    config: {
      environment,
      defaults: {
        ...config,
        http: { port: 0 },
        database: { embedded: true, embeddedDataDir: join(stateDir, "postgres") },
      },
    },
  });
  return {
    app,
    addresses: () => [{ what: "notes", url: `http://127.0.0.1:${app.get(httpServer).port}` }],
  };
};
