import { runApps } from "@plinth/kernel";
import { createNotes, createReader } from "./apps.ts";

process.exitCode = await runApps([createNotes("first"), createNotes("second"), createReader(3000)]);
