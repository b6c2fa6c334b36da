// Each row of the tables of HTTP/1.1, through a gateway to node:http. `npm run test:faults -- conformance` has other origins behind it.
import assert from "node:assert/strict";
import { posix } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Scripted, startGateway, type TestGateway } from "../../pkg/gateway/src/testing/kit.ts";
import { canonicalPath } from "../../pkg/gateway/src/path.ts";
import { judgeHttp2 } from "./judge-http2.ts";
import { judgeUpstream, scriptedOrigin } from "./judge-upstream.ts";
import { judge } from "./judge.ts";
import { nodeOrigin } from "./origins/own.ts";
import { openStand } from "./stand.ts";
import { framing } from "./tables/framing.ts";
import { http2 } from "./tables/http2.ts";
import { paths } from "./tables/paths.ts";
import { publishedKeys } from "./tables/tokens.ts";
import { trust } from "./tables/trust.ts";
import { upstream } from "./tables/upstream.ts";

const tables = { framing, paths, trust };

describe("a gateway", () => {
  let stand: Awaited<ReturnType<typeof openStand>>;
  before(async () => {
    stand = await openStand(await nodeOrigin(), publishedKeys);
  });
  after(() => stand[Symbol.asyncDispose]());

  for (const [table, rows] of Object.entries(tables)) {
    describe(table, () => {
      for (const row of rows) it(`is right about ${row.what}`, () => judge(stand, row));
    });
  }
  it("sends no path on that a server could read as a guarded one", () => {
    for (const { what, reaches = [] } of paths) {
      for (const [, path = ""] of reaches.map((one) => /^GET ([^?]*)/.exec(one) ?? [])) {
        assert.equal(canonicalPath(path), path, what);
        const decoded = decodeURIComponent(path);
        for (const reading of [path, decoded, posix.normalize(decoded)])
          assert.doesNotMatch(reading, /^\/admin(?:\/|$)/, what);
      }
    }
  });

  describe("HTTP/2", () => {
    for (const row of http2) it(`is right about ${row.what}`, () => judgeHttp2(stand, row));
  });
});

describe("a gateway before a service that does not keep to HTTP", () => {
  let origin: Scripted;
  let running: TestGateway;
  before(async () => {
    origin = await scriptedOrigin();
    running = await startGateway();
    await running.add(origin);
  });
  after(async () => {
    await running[Symbol.asyncDispose]();
    await origin.close();
  });

  for (const row of upstream) it(`is right about ${row.what}`, () => judgeUpstream(running, row));
});
