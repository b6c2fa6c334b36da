import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { constants } from "node:http2";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { Http2Stalls } from "./http2-stalls.ts";

class Stream extends EventEmitter {
  writableLength = 65_536;
  readonly destroyed = false;
  closedWith: number | undefined;

  close(code: number): void {
    this.closedWith = code;
    this.emit("close");
  }
}

function watched() {
  const clock = new FakeClock();
  const stalls = new Http2Stalls({ idleTimeoutMs: 1_000, clock });
  const stream = new Stream();
  const socket = { bytesWritten: 0 };
  stalls.watch(stream, socket);
  /** Seconds by quarters, in which that happens. */
  const pass = async (seconds: number, happens = (): void => {}): Promise<void> => {
    for (let quarter = 0; quarter < 4 * seconds; quarter++) {
      happens();
      await clock.advance(250);
    }
  };
  return { stream, socket, pass };
}

describe("a stream of which nothing goes out", () => {
  it("is reset when its time is over", async () => {
    const { stream, pass } = watched();
    await pass(1);
    assert.equal(stream.closedWith, undefined);
    await pass(0.25);
    assert.equal(stream.closedWith, constants.NGHTTP2_CANCEL);
  });

  it("has five times as long where its connection is at work for others, and no longer", async () => {
    const { stream, socket, pass } = watched();
    const works = (): void => void (socket.bytesWritten += 100_000);
    await pass(5, works);
    assert.equal(stream.closedWith, undefined);
    await pass(0.25, works);
    assert.equal(stream.closedWith, constants.NGHTTP2_CANCEL);
  });

  it("gets no more by what the connection says of others", async () => {
    const { stream, socket, pass } = watched();
    await pass(1.25, () => void (socket.bytesWritten += 1_300)); // as the resets of a hundred streams
    assert.equal(stream.closedWith, constants.NGHTTP2_CANCEL);
  });

  it("is left alone while parts of it go, though as much waits again, and while nothing waits", async () => {
    const { stream, pass } = watched();
    await pass(10, () => void stream.emit("drain"));
    stream.writableLength = 0;
    await pass(10);
    assert.equal(stream.closedWith, undefined);
  });
});
