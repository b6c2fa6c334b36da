import type { Leftover } from "./handles.ts";
import { captureOrigin, framesOf, isOfNode, type Origin, placeOf } from "./made-at.ts";

interface Added {
  readonly event: string | symbol;
  readonly listener: unknown;
  readonly origin: Origin;
}

/** Keeps account of the listeners of `process`, signal handlers among them, from its making until {@link ProcessListeners.forget}. */
export class ProcessListeners {
  readonly #before = snapshot();
  readonly #added: Added[] = [];
  readonly #onNew = (event: string | symbol, listener: unknown): void => {
    this.#added.push({ event, listener, origin: captureOrigin(this.#onNew) });
  };

  constructor() {
    process.on("newListener", this.#onNew);
  }

  forget(): void {
    process.off("newListener", this.#onNew);
  }

  left(): Leftover[] {
    return [...snapshot()].flatMap(([event, listeners]) => {
      const before = [...(this.#before.get(event) ?? [])];
      return listeners.flatMap((listener) => {
        const known = before.indexOf(listener);
        if (known >= 0) before.splice(known, 1);
        if (known >= 0 || listener === this.#onNew) return [];
        const origin = this.#added.findLast((added) => added.event === event && added.listener === listener)?.origin;
        return origin && isOfNodeItself(origin)
          ? []
          : [
              {
                what: `listener of process "${String(event)}"`,
                place: (origin && placeOf(origin)) ?? "an unknown place",
              },
            ];
      });
    });
  }
}

/** Past the calls of the emitter: whoever asked to listen. */
function isOfNodeItself(origin: Origin): boolean {
  const caller = framesOf(origin).find((frame) => !/^node:(events|internal\/process\/)/.test(frame));
  return caller === undefined || isOfNode(caller);
}

function snapshot(): Map<string | symbol, unknown[]> {
  return new Map(process.eventNames().map((event) => [event, process.listeners(event)]));
}
