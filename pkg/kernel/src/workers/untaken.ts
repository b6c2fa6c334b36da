import type { ChildProcess } from "node:child_process";
import { fieldOf } from "../errors/thrown.ts";

/**
 * Hands connections on that a worker was given and dies without having taken: Node forgets them, and their clients would wait in vain.
 *
 * `node:cluster` gives a worker one connection of each port at a time, in a message that the worker answers when it takes it. For
 * those without an answer when the channel ends it is told what a worker answers that closes: give it to another. Only `seq`,
 * `act` and `ack` of these messages are looked at, which are the same in Node 24 and 26; were they others, nothing would be done.
 *
 * @param hasOthers - Whether there is any worker to take them; else they are closed, so that their clients hear of it.
 */
export function handOnUntaken(child: ChildProcess, hasOthers: () => boolean): void {
  const untaken = new Map<number, unknown>();
  const send: unknown = Reflect.get(child, "send");
  if (typeof send !== "function") return;
  const watched = (message: unknown, connection: unknown, ...rest: unknown[]): unknown => {
    const seq = numberIn(message, "seq");
    if (seq !== undefined && connection !== undefined && fieldOf(message, "act") === "newconn") {
      untaken.set(seq, connection);
    }
    return Reflect.apply(send, child, [message, connection, ...rest]);
  };
  Object.defineProperty(child, "send", { value: watched, configurable: true, writable: true });
  child.on("internalMessage", (message: unknown) => {
    const seq = numberIn(message, "ack");
    if (seq !== undefined) untaken.delete(seq);
  });
  // after node:cluster has heard of it, and knows the worker as one that takes no more
  child.once("disconnect", () => {
    const left = [...untaken];
    untaken.clear();
    for (const [seq, connection] of left) {
      if (hasOthers()) child.emit("internalMessage", { cmd: "NODE_CLUSTER", ack: seq, accepted: false });
      else close(connection);
    }
  });
}

function close(connection: unknown): void {
  const own = fieldOf(connection, "close");
  if (typeof own === "function") Reflect.apply(own, connection, []);
}

function numberIn(value: unknown, name: string): number | undefined {
  const field = fieldOf(value, name);
  return typeof field === "number" ? field : undefined;
}
