import { runApps } from "@plinth/kernel";
import { createAuthz, createNotes } from "./apps.ts";

process.exitCode = await runApps([createAuthz(), createAuthz(), createNotes(3000)]);
