import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { type Encoded, Encoder, placesOf } from "./encoder.ts";

describe("an encoder", () => {
  it("gives a client that has no room nothing more until it has, and takes little meanwhile", async () => {
    let written = 0;
    let hasRoom = false;
    let room = 0;
    let closed = 0;
    const exchange: Encoded = {
      bytes: 0,
      response: {
        write: () => (written++, hasRoom),
        awaitRoom: () => undefined,
        addTrailers: () => undefined,
        end: () => undefined,
        writableEnded: false,
        destroyed: false,
      },
      fault: assert.fail,
    };
    const onRoom = (): void => void room++;
    const onClosed = (): void => void closed++;
    const encoder = new Encoder(exchange, { coding: "gzip", level: "fast", flushes: true, onRoom, onClosed });
    const noise = randomBytes(262_144);
    assert.equal(encoder.write(noise), false);
    await until(() => written > 0);
    for (let turn = 0; turn < 200; turn++) await new Promise(setImmediate);
    assert.equal(written, 1);
    assert.equal(room, 0);
    hasRoom = true;
    encoder.resume();
    await until(() => room === 1);
    assert.ok(exchange.bytes >= noise.length);
    encoder.destroy();
    encoder.destroy();
    await until(() => closed === 1);
  });
});

describe("the memory of an encoder", () => {
  it("counts as much as it was measured to have", () => {
    assert.deepEqual([placesOf("gzip", "small"), placesOf("br", "balanced"), placesOf("zstd", "fast")], [1, 1, 1]);
    assert.deepEqual([placesOf("br", "small"), placesOf("zstd", "small")], [9, 6]);
  });
});
