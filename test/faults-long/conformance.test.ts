// The tables of conformance through the gateway, with servers of other projects behind it, and what each of them has read.
import { describe } from "node:test";
import { judgeHttp2 } from "../conformance/judge-http2.ts";
import { judge, type Stand } from "../conformance/judge.ts";
import { nodeOrigin, plinthOrigin } from "../conformance/origins/own.ts";
import { apacheOrigin, haproxyOrigin, nginxOrigin } from "../conformance/origins/server.ts";
import type { Row } from "../conformance/row.ts";
import { openStand } from "../conformance/stand.ts";
import { framing } from "../conformance/tables/framing.ts";
import { http2 } from "../conformance/tables/http2.ts";
import { paths } from "../conformance/tables/paths.ts";
import { publishedKeys, tokens } from "../conformance/tables/tokens.ts";
import { trust } from "../conformance/tables/trust.ts";
import { faultTest } from "../support/fault-row.ts";

const origins = {
  "node:http": nodeOrigin,
  "Plinth's server": plinthOrigin,
  nginx: nginxOrigin,
  HAProxy: haproxyOrigin,
  Apache: apacheOrigin,
};
interface Judge {
  readonly what: string;
  readonly judge: () => Promise<void>;
}

const of =
  (rows: () => readonly Row[]) =>
  (stand: Stand): readonly Judge[] =>
    rows().map((row) => ({ what: row.what, judge: () => judge(stand, row) }));
const tables: Readonly<Record<string, (stand: Stand) => readonly Judge[]>> = {
  framing: of(() => framing),
  paths: of(() => paths),
  trust: of(() => trust),
  tokens: of(tokens),
  "HTTP/2": (stand) => http2.map((row) => ({ what: row.what, judge: () => judgeHttp2(stand, row) })),
};

describe("the gateway and the tables of conformance", () => {
  for (const [name, start] of Object.entries(origins)) {
    for (const [table, judgesOf] of Object.entries(tables)) {
      faultTest(
        {
          fault: `conformance: ${table}`,
          done: `${name} behind the gateway`,
          expected: "each row as the table has it",
        },
        async (witness) => {
          await using stand = await openStand(await start(), publishedKeys);
          const faults: string[] = [];
          const rows = judgesOf(stand);
          for (const { what, judge } of rows) {
            try {
              await judge();
            } catch (error) {
              faults.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
              stand.tap.take();
            }
          }
          witness.count({ sent: rows.length, failed: faults.length });
          if (faults.length > 0) throw new Error(`${faults.length} of ${rows.length} rows\n${faults.join("\n\n")}`);
        },
      );
    }
  }
});
