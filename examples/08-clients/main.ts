import { runApps } from "@plinth/kernel";
import { createAuthz } from "./authz.ts";
import { createNotes } from "./notes.ts";

process.exitCode = await runApps([createAuthz(), createAuthz(), createNotes(3000)]);
