import assert from "node:assert/strict";
import { constants } from "node:http2";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { startHttp, type TestHttp } from "../testing/http.ts";
import { type Frame, frameTypes, plainHead, RawHttp2 } from "../testing/http2-frames.ts";

const never = new AbortController().signal;
const endStream = 1;

const at = (path: string): typeof plainHead => [...plainHead.slice(0, 3), [":path", path]];

const start = (clock = new FakeClock(), gate?: Promise<string>): Promise<TestHttp> =>
  startHttp({
    clock,
    settings: { http2: true },
    routes: (app) => {
      app.get("/", async () => "now");
      app.get("/later", () => gate);
    },
  });

const isGoaway = ({ type }: Frame): boolean => type === frameTypes.goaway;
const ends =
  (stream: number) =>
  ({ flags, type, stream: of }: Frame): boolean =>
    of === stream && type === frameTypes.data && (flags & endStream) !== 0;

/** Where the GOAWAY and the end of a stream's reply stand among the frames that came: both have come. */
async function goawayAhead(caller: RawHttp2, stream: number): Promise<readonly [last: number, ahead: boolean]> {
  await caller.until(ends(stream));
  const goaway = await caller.until(isGoaway);
  assert.ok(goaway);
  assert.equal(goaway.payload.readUInt32BE(4), constants.NGHTTP2_NO_ERROR);
  const { frames } = caller;
  return [goaway.payload.readUInt32BE(0), frames.findIndex(isGoaway) < frames.findIndex(ends(stream))];
}

/** A connection that is open at both ends, and on which the server waits for a request. */
async function dial(http: TestHttp): Promise<RawHttp2> {
  const caller = new RawHttp2(http.server.port);
  await caller.until(({ type }) => type === frameTypes.settings);
  return caller;
}

describe("an announced stop over HTTP/2", () => {
  it("puts a GOAWAY ahead of the end of the next reply, so that who asks one thing at a time has it before it asks again", async () => {
    await using http = await start();
    const caller = await dial(http);
    caller.head(1);
    await caller.until(ends(1));
    http.server.announceDrain();
    http.server.announceDrain();
    caller.head(3);
    assert.deepEqual(await goawayAhead(caller, 3), [3, true]);
    await caller.closed;
  });

  it("answers what else is under way on the connection", async () => {
    const gate = Promise.withResolvers<string>();
    await using http = await start(new FakeClock(), gate.promise);
    const caller = await dial(http);
    caller.head(1, at("/later"));
    caller.head(3);
    await caller.until(ends(3));
    http.server.announceDrain();
    caller.head(5);
    assert.deepEqual(await goawayAhead(caller, 5), [5, true]);
    gate.resolve("then");
    assert.equal(await caller.answer(1), "200");
    await caller.closed;
  });

  it("serves connections that come afterwards until the drain, so that what was refused once is not refused again", async () => {
    const clock = new FakeClock();
    await using http = await start(clock);
    http.server.announceDrain();
    const caller = await dial(http);
    await clock.advance(500);
    for (const stream of [1, 3, 5]) {
      caller.head(stream);
      await caller.until(ends(stream));
    }
    assert.equal(caller.frames.filter(isGoaway).length, 0);
    const drained = http.server.drain({ signal: never });
    caller.head(7);
    assert.deepEqual(await goawayAhead(caller, 7), [7, true]);
    await drained;
  });
});

describe("a drain over HTTP/2", () => {
  it("serves one more request of a connection that was idle for less than a moment, and no more", async () => {
    await using http = await start();
    const [fresh, used] = [await dial(http), await dial(http)];
    used.head(1);
    await used.until(ends(1));
    const drained = http.server.drain({ signal: never });
    fresh.head(1);
    used.head(3);
    assert.deepEqual(await goawayAhead(fresh, 1), [1, true]);
    assert.deepEqual(await goawayAhead(used, 3), [3, true]);
    await drained;
  });

  it("tells one that began within that moment when it is over, as what comes on it may have been refused on another", async () => {
    const clock = new FakeClock();
    await using http = await start(clock);
    http.server.announceDrain();
    const caller = await dial(http);
    const drained = http.server.drain({ signal: never });
    await clock.advance(1);
    for (const stream of [1, 3]) {
      caller.head(stream);
      await caller.until(ends(stream));
    }
    await clock.advance(498);
    caller.head(5);
    await caller.until(ends(5));
    assert.equal(caller.frames.filter(isGoaway).length, 0);
    await clock.advance(1);
    caller.head(7);
    assert.deepEqual(await goawayAhead(caller, 7), [7, true]);
    await drained;
  });

  it("closes such a one after a moment more, when nothing else comes", async () => {
    const clock = new FakeClock();
    await using http = await start(clock);
    http.server.announceDrain();
    const caller = await dial(http);
    const drained = http.server.drain({ signal: never });
    await clock.advance(1);
    caller.head(1);
    await caller.until(ends(1));
    await clock.advance(998);
    assert.equal(caller.frames.filter(isGoaway).length, 0);
    await clock.advance(1);
    assert.ok(await caller.until(isGoaway));
    await Promise.all([drained, caller.closed]);
  });

  it("closes one that stays silent after that moment", async () => {
    const clock = new FakeClock();
    await using http = await start(clock);
    const caller = await dial(http);
    const drained = http.server.drain({ signal: never });
    await clock.advance(499);
    assert.equal(caller.frames.filter(isGoaway).length, 0);
    await clock.advance(1);
    await Promise.all([drained, caller.closed]);
  });

  it("closes one that has been silent for longer at once", async () => {
    const clock = new FakeClock();
    await using http = await start(clock);
    const caller = await dial(http);
    await clock.advance(500);
    await http.server.drain({ signal: never });
    await caller.closed;
  });
});
