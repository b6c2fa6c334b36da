import { runApps } from "@plinth/kernel";
import { createKeyedGateway } from "./app.ts";
import { createNotes } from "./notes.ts";

process.exitCode = await runApps([createNotes(), createKeyedGateway(8080)]);
