import type { ChildProcess } from "node:child_process";
import { fieldOf } from "../errors/thrown.ts";
import { closeConnection, type Handover } from "./shared-listeners.ts";

/**
 * Watches what becomes of the connections that a worker is given, and hands those on that it dies without having taken: Node
 * forgets them, and their clients would wait in vain.
 *
 * `node:cluster` gives a worker one connection of each port at a time, in a message that the worker answers when it takes it. For
 * those without an answer when the channel ends it is told what a worker answers that closes: give it to another. Only `seq`,
 * `act`, `ack` and `accepted` of these messages are looked at, which are the same in Node 24 and 26; were they others, nothing would be done.
 *
 * @param hasOthers - Whether there is any worker to take them; else they are closed, so that their clients hear of it.
 */
export function watchHandover(child: ChildProcess, handover: Handover, hasOthers: () => boolean): void {
  const untaken = new Map<number, object>();
  const send: unknown = Reflect.get(child, "send");
  if (typeof send !== "function") return;
  const watched = (message: unknown, connection: unknown, ...rest: unknown[]): unknown => {
    const seq = numberIn(message, "seq");
    const isConnection = typeof connection === "object" && connection !== null && fieldOf(message, "act") === "newconn";
    if (seq !== undefined && isConnection) {
      untaken.set(seq, connection);
      handover.onGiven(connection);
    }
    return Reflect.apply(send, child, [message, connection, ...rest]);
  };
  Object.defineProperty(child, "send", { value: watched, configurable: true, writable: true });
  // before node:cluster hears of it, and gives one that is refused to another
  child.prependListener("internalMessage", (message: unknown) => {
    const seq = numberIn(message, "ack");
    const connection = seq === undefined ? undefined : untaken.get(seq);
    if (seq === undefined || connection === undefined) return;
    untaken.delete(seq);
    if (fieldOf(message, "accepted") === true) handover.onTaken(connection);
    else handover.onRefused(connection);
  });
  // after node:cluster has heard of it, and knows the worker as one that takes no more
  child.once("disconnect", () => {
    for (const [seq, connection] of untaken) {
      if (hasOthers()) child.emit("internalMessage", { cmd: "NODE_CLUSTER", ack: seq, accepted: false });
      else {
        untaken.delete(seq);
        handover.onRefused(connection);
        closeConnection(connection);
      }
    }
  });
}

function numberIn(value: unknown, name: string): number | undefined {
  const field = fieldOf(value, name);
  return typeof field === "number" ? field : undefined;
}
