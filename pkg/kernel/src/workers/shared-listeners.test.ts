// With real workers: this file is their main, too. It says when another Node has other private objects than those that are known.
import assert from "node:assert/strict";
import cluster from "node:cluster";
import { once } from "node:events";
import { connect, Server, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, describe, it } from "node:test";
import { forkOnCluster } from "./cluster-fork.ts";
import { placeOf } from "./place.ts";
import { SharedListeners } from "./shared-listeners.ts";
import type { WorkerProcess } from "./worker-process.ts";

if (cluster.isWorker) serve();
else tests();

/** Answers each connection with its process id; closes when it is told anything. */
function serve(): void {
  const server = new Server((socket) => socket.end(String(process.pid)));
  process.on("message", () => server.close());
  process.on("disconnect", () => process.exit());
  server.listen(0, "127.0.0.1", () => process.send?.(placeOf(server)));
}

interface Worker extends WorkerProcess {
  readonly place: string;
  readonly ended: Promise<unknown>;
  signal(name: NodeJS.Signals): void;
}

function tests(): void {
  const listeners = new SharedListeners();
  const fork = forkOnCluster({ scrapeMs: 1_000 }, listeners);
  const workers: Worker[] = [];

  const start = async (number: number): Promise<Worker> => {
    const ended = Promise.withResolvers<unknown>();
    const place = Promise.withResolvers<unknown>();
    const forked = fork(number, { onMessage: place.resolve, onEnd: ended.resolve });
    const signal = (name: NodeJS.Signals): void => void process.kill(forked.pid ?? 0, name);
    const worker = { ...forked, place: String(await place.promise), ended: ended.promise, signal };
    workers.push(worker);
    return worker;
  };

  /** Connections that the system has made; whether this process has accepted them is not known. */
  const open = (place: string, count: number): Promise<Socket[]> =>
    Promise.all(
      Array.from({ length: count }, async () => {
        const socket = connect(Number(place.split(":")[1]), "127.0.0.1");
        await once(socket, "connect");
        return socket;
      }),
    );

  const untilRefused = async (place: string): Promise<void> => {
    for (;;) {
      try {
        for (const socket of await open(place, 1)) socket.on("error", () => {}).destroy();
      } catch (error) {
        assert.ok(error instanceof Error && "code" in error);
        if (error.code === "ECONNREFUSED") return;
        assert.equal(error.code, "ECONNRESET");
      }
    }
  };

  describe("a port that workers share", () => {
    before(() => cluster.setupPrimary({ exec: import.meta.filename, args: [] }));
    after(async () => {
      for (const worker of workers) worker.kill();
      await Promise.all(workers.map(({ ended }) => ended));
      listeners.close();
    });

    it("ends in order: nothing more is accepted, and a worker has each connection that was, also of one that dies", async () => {
      const [worker, dying] = await Promise.all([start(1), start(2)]);
      const { place } = worker;
      assert.equal(dying.place, place);
      assert.ok(listeners.has(place), "this Node's node:cluster is another than that which is known");
      for (const { signal } of [worker, dying]) signal("SIGSTOP");
      const sockets = await open(place, 6);
      const replies = sockets.map((socket) => text(socket));
      const ended = listeners.end(place);
      const again = listeners.end(place);
      let isOver = false;
      void Promise.race([ended, again]).then(() => (isOver = true));
      await untilRefused(place);
      assert.equal(isOver, false, "no worker has taken any");
      dying.kill();
      await dying.ended;
      assert.equal(isOver, false, "the other has to take them");
      worker.signal("SIGCONT");
      await Promise.all([ended, again]);
      for (const reply of replies) assert.equal(await reply, String(worker.pid));
      await listeners.end(place);
      worker.kill();
      await worker.ended;
      assert.equal(listeners.has(place), false);
    });

    it("closes a connection that the last worker was given and refuses, since it has closed", async () => {
      const worker = await start(3);
      worker.signal("SIGSTOP");
      worker.send({ type: "stop" }); // which it reads before what it is given next
      const [socket] = await open(worker.place, 1);
      assert.ok(socket);
      worker.signal("SIGCONT");
      const error = await text(socket).catch((thrown: unknown) => thrown);
      assert.ok(error === "" || (error instanceof Error && "code" in error && error.code === "ECONNRESET"));
      assert.equal(listeners.has(worker.place), false);
    });

    it("is none on which this process itself listens, nor one that nobody knows", async () => {
      const own = new Server();
      own.listen(0, "127.0.0.1");
      await once(own, "listening");
      const place = placeOf(own) ?? "";
      await new Promise((resolve) => void setImmediate(resolve));
      assert.equal(listeners.has(place), false);
      await Promise.all([listeners.end(place), listeners.end("nowhere")]);
      for (const socket of await open(place, 1)) socket.destroy();
      own.close();
    });
  });
}
