import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Listeners } from "./listeners.ts";

describe("Listeners", () => {
  it("tells all, in the order in which they came", () => {
    const listeners = new Listeners<number>();
    const heard: string[] = [];
    listeners.add((value) => heard.push(`a${value}`));
    listeners.add((value) => heard.push(`b${value}`));
    listeners.tell(1);
    assert.deepEqual(heard, ["a1", "b1"]);
  });

  it("tells nobody who has left, also while it tells, and not who comes meanwhile", () => {
    const listeners = new Listeners<number>();
    const heard: string[] = [];
    listeners.add(() => {
      leaveSecond();
      listeners.add(() => heard.push("late"));
    });
    const leaveSecond = listeners.add(() => heard.push("second"));
    listeners.tell(1);
    assert.deepEqual(heard, []);
  });

  it("keeps two additions of the same function apart", () => {
    const listeners = new Listeners<number>();
    let calls = 0;
    const listener = (): void => void calls++;
    const leave = listeners.add(listener);
    listeners.add(listener);
    leave();
    leave();
    listeners.tell(1);
    assert.equal(calls, 1);
  });

  it("goes on after one that throws, whose error becomes an uncaught exception", (t) => {
    const thrown: unknown[] = [];
    t.mock.method(process, "nextTick", (task: () => void) => {
      try {
        task();
      } catch (error) {
        thrown.push(error);
      }
    });
    const listeners = new Listeners<number>();
    const heard: number[] = [];
    const error = new Error("listener");
    listeners.add(() => {
      throw error;
    });
    listeners.add((value) => heard.push(value));
    listeners.tell(7);
    assert.deepEqual(heard, [7]);
    assert.deepEqual(thrown, [error]);
  });
});
