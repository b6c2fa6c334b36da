// Finds or fetches servers and prints where they are.
// usage: npm run servers [-- consul nginx haproxy caddy apache2 prometheus promtool postgres pgbouncer redis-server]
import { ServerError, findServer, serverNames } from "./index.ts";

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !serverNames.some((known) => known === name));
if (unknown.length > 0) {
  console.error(`unknown: ${unknown.join(", ")}; there are ${serverNames.join(", ")}`);
  process.exit(2);
}
for (const name of serverNames.filter((known) => wanted.length === 0 || wanted.includes(known))) {
  try {
    const { bin, env } = await findServer(name);
    const variables = Object.entries(env).map(([key, value]) => `${key}=${value} `);
    console.log(`${name}\t${variables.join("")}${bin}`);
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
