import { coreModule, createApp } from "@plinth/kernel";
import { httpModule } from "@plinth/transport";
import { notesModule } from "./notes.ts";
import { usersModule } from "./users.ts";

const app = createApp({ name: "notes", modules: [coreModule, httpModule, usersModule, notesModule] });
process.exitCode = await app.run();
