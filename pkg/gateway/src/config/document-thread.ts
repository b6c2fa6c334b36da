// What the thread runs that a large document is checked in: see check-aside.ts.
import { parentPort } from "node:worker_threads";
import { checkText, type DocumentText } from "./document.ts";

parentPort?.once("message", (document: DocumentText) => parentPort?.postMessage(checkText(document)));
