import assert from "node:assert/strict";
import { once } from "node:events";
import { Server } from "node:net";
import { describe, it } from "node:test";
import { FakePrimaryPort } from "../testing/fake-primary-port.ts";
import { checkLeaks, FakeClock } from "../testing/index.ts";
import { askToUnlisten } from "./ask-to-unlisten.ts";
import { takeLastConnections } from "./last-connections.ts";

class Asking implements AsyncDisposable {
  readonly server = new Server();
  readonly clock = new FakeClock();
  readonly port = new FakePrimaryPort();
  readonly over = new AbortController();
  isOver = false;

  static async start(): Promise<Asking> {
    const asking = new Asking();
    asking.server.listen(0, "127.0.0.1");
    await once(asking.server, "listening");
    return asking;
  }

  ask(): Promise<void> {
    const asked = askToUnlisten(this.server, { clock: this.clock, signal: this.over.signal }, this.port);
    return asked.then(() => void (this.isOver = true));
  }

  get at(): string {
    const address = this.server.address();
    return typeof address === "object" ? `127.0.0.1:${address?.port}` : "";
  }

  /** The one question that was asked, and that nothing of it is left. */
  [Symbol.asyncDispose](): Promise<void> {
    assert.deepEqual([this.port.listeners, this.clock.pending], [0, 0]);
    return new Promise((resolve) => void this.server.close(() => resolve()));
  }
}

describe("a worker whose server is about to close", () => {
  it("tells the primary where it listens, and waits for the answer to this question", async () => {
    await using asking = await Asking.start();
    const { port, clock } = asking;
    const asked = asking.ask();
    const [question, ...others] = port.ofType("unlisten");
    assert.ok(question && others.length === 0);
    assert.equal(question.at, asking.at);
    port.tell({ type: "unlistened", id: question.id + 1 });
    port.tell({ type: "reload" });
    await clock.advance(4_999);
    assert.equal(asking.isOver, false);
    port.tell({ type: "unlistened", id: question.id });
    await asked;
    port.tell({ type: "unlistened", id: question.id });
  });

  it("asks for each server, also for two at the same time", async () => {
    await using one = await Asking.start();
    await using other = await Asking.start();
    const asked = [one.ask(), other.ask()];
    const [first] = one.port.ofType("unlisten");
    const [second] = other.port.ofType("unlisten");
    assert.ok(first && second && first.id !== second.id && first.at !== second.at);
    one.port.tell({ type: "unlistened", id: first.id });
    other.port.tell({ type: "unlistened", id: second.id });
    await Promise.all(asked);
  });

  it("waits five seconds for a primary that hangs", async () => {
    await using asking = await Asking.start();
    const asked = asking.ask();
    await asking.clock.advance(4_999);
    assert.equal(asking.isOver, false);
    await asking.clock.advance(1);
    await asked;
  });

  it("does not wait when the primary has gone, nor when it goes", async () => {
    await using asking = await Asking.start();
    const asked = asking.ask();
    asking.port.close();
    await asked;
    await asking.ask();
    assert.equal(asking.port.sent.length, 1);
  });

  it("does not wait when there is no more time, nor when that comes to its end", async () => {
    await using asking = await Asking.start();
    const asked = asking.ask();
    asking.over.abort();
    await asked;
    await asking.ask();
    assert.equal(asking.port.sent.length, 1);
  });

  it("has nothing to ask when the server does not listen", async () => {
    const port = new FakePrimaryPort();
    const { signal } = new AbortController();
    await askToUnlisten(new Server(), { clock: new FakeClock(), signal }, port);
    assert.deepEqual(port.sent, []);
  });

  it("is none in a process that is no worker, though a worker has started it", async (t) => {
    await using _ = checkLeaks();
    await using asking = await Asking.start();
    const options = { clock: asking.clock, signal: asking.over.signal };
    assert.equal(takeLastConnections(asking.server, options), undefined);
    process.env.PLINTH_WORKER = "{}";
    t.after(() => delete process.env.PLINTH_WORKER);
    await takeLastConnections(asking.server, options);
  });
});
