import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { FrameTrack, goingAwayFrame } from "./frames.ts";

/** A frame as a server sends it, or masked as a client does. */
function frame(opcode: number, length: number, isMasked: boolean): Buffer {
  const mask = isMasked ? 0x80 : 0;
  const head =
    length < 126
      ? Buffer.from([opcode, mask | length])
      : length < 65_536
        ? Buffer.from([opcode, mask | 126, length >> 8, length & 0xff])
        : Buffer.from([opcode, mask | 127, 0, 0, 0, 0, 0, length >> 16, (length >> 8) & 0xff, length & 0xff]);
  return Buffer.concat([head, Buffer.alloc(isMasked ? 4 + length : length, 0x88)]);
}

describe("the track of frames", () => {
  it("knows every end of a frame, however the bytes are cut", () => {
    const frames = fc.array(
      fc.record({
        opcode: fc.constantFrom(0x81, 0x02, 0x80, 0x89, 0xc2),
        length: fc.oneof(fc.nat(200), fc.constantFrom(0, 125, 126, 127, 65_535, 65_536, 70_000)),
        isMasked: fc.boolean(),
      }),
      { minLength: 1, maxLength: 6 },
    );
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 40_000 }), { maxLength: 30 }), (given, cuts) => {
        const all = given.map(({ opcode, length, isMasked }) => frame(opcode, length, isMasked));
        const bytes = Buffer.concat(all);
        let end = 0;
        const ends = new Set(all.map(({ length }) => (end += length)));
        const track = new FrameTrack();
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          const chunk = bytes.subarray(at, at + cut);
          at += track.pass(chunk, false);
          assert.equal(track.isBetween, at === 0 || ends.has(at));
        }
        assert.equal(at, bytes.length);
        assert.equal(track.hasClosed, false);
      }),
      { seed: 20_261_123, numRuns: 60 },
    );
  });

  it("stops at the first end when asked to, and goes on from there", () => {
    const bytes = Buffer.concat([frame(0x81, 200, false), frame(0x89, 3, false)]);
    const track = new FrameTrack();
    assert.equal(track.pass(bytes.subarray(0, 50), true), 0, "nothing has begun: this is an end already");
    assert.equal(track.pass(bytes.subarray(0, 50), false), 50);
    assert.equal(track.pass(bytes.subarray(50), true), 154);
    assert.equal(track.isBetween, true);
  });

  it("tells a close frame, and takes bytes of a payload for no frame", () => {
    const track = new FrameTrack();
    track.pass(frame(0x82, 300, false), false);
    assert.equal(track.hasClosed, false);
    track.pass(goingAwayFrame, false);
    assert.deepEqual([track.hasClosed, track.isBetween], [true, true]);
  });
});
