// Writes the reference pages that are made from the code, and says where docs/errors.md, written by hand, differs from it.
// usage: npm run docs
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findErrorCodes } from "./error-codes.ts";
import { checkErrorsPage } from "./errors-page.ts";
import { makePages } from "./pages.ts";
import { readSources } from "./sources.ts";

const root = join(import.meta.dirname, "../..");
for (const [file, text] of await makePages(root)) writeFileSync(join(root, file), text);
const faults = checkErrorsPage(readFileSync(join(root, "docs/errors.md"), "utf8"), findErrorCodes(readSources(root)));
for (const fault of faults) console.error(`docs/errors.md: ${fault}`);
if (faults.length > 0) process.exitCode = 1;
