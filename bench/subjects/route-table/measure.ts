// What finding the route of a request costs in a table of some size.
import { parsePattern } from "../../../pkg/gateway/src/router/pattern.ts";
import { createRouteTable } from "../../../pkg/gateway/src/router/route-table.ts";
import { costOf } from "../cost.ts";

const lookUps = 5_000;
/** The same few routes are asked for whatever the size, as of a table most of which is seldom used. */
const asked = 10;

/** Times look-ups and prints the figures. The length of the window is this program's argument. */
export async function measureTable(size: number): Promise<void> {
  const entries = Array.from({ length: size }, (_, at) => {
    const pattern = parsePattern(`/service-${at}/items/:id/tags`);
    if (typeof pattern === "string") throw new Error(pattern);
    return { pattern, methods: ["GET"], host: undefined, route: at };
  });
  const { table } = createRouteTable(entries);
  const step = size / asked;
  const paths = Array.from({ length: asked }, (_, at) => `/service-${Math.floor(at * step)}/items/42/tags`);
  const facts = { headers: ["accept", "*/*"], query: "" };
  let found = 0;
  const { micros, bytes } = await costOf(
    async () => {
      for (let call = 0; call < lookUps; call++) {
        if (table.find("shop.example", "GET", paths[call % asked] ?? "/", facts) !== undefined) found++;
      }
    },
    Number(process.argv[2]) * 1_000,
  );
  if (found === 0) throw new Error("nothing was found");
  process.stdout.write(JSON.stringify({ nanos: (micros * 1_000) / lookUps, bytes: bytes / lookUps }));
}
