import { parseArgs } from "node:util";
import { messageOf } from "@plinth/kernel";
import { developmentKey, signToken } from "./issuer/keys.ts";
import { keyPath } from "./paths.ts";

const usage = 'usage: npm run -s token -- --sub NAME [--scope "notes:read notes:write"]';

/** Prints a development access token: `npm run -s token -- --sub alice --scope "notes:read notes:write"`. */
async function main(): Promise<number> {
  try {
    const { values } = parseArgs({ options: { sub: { type: "string" }, scope: { type: "string", default: "" } } });
    if (values.sub === undefined || values.sub === "") throw new Error("--sub is missing: whom the token speaks for");
    process.stdout.write(
      `${await signToken(await developmentKey(keyPath), { subject: values.sub, scope: values.scope })}\n`,
    );
    return 0;
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n${usage}\n`);
    return 1;
  }
}

process.exitCode = await main();
