// What choosing an instance for a call and giving it back costs.
import { costOf } from "../cost.ts";

export interface BenchMember {
  readonly id: string;
  readonly weight: number;
}

/** Twenty, as a subset of a large fleet has them. */
export const members: readonly BenchMember[] = Array.from({ length: 20 }, (_, at) => ({ id: `m${at}`, weight: 1 }));
/** In flight at any time, each released when as many others have been picked. */
const inFlight = 64;
const calls = 5_000;

/** What was picked is handed back. */
export interface Subject<T> {
  readonly pick: (call: number) => T;
  readonly release: (picked: T) => void;
}

/** Times a subject and prints the figures. The length of the window is this program's argument. */
export async function measureBalancer<T>({ pick, release }: Subject<T>): Promise<void> {
  const ms = Number(process.argv[2]) * 1_000;
  const held = Array.from({ length: inFlight }, (_, call) => pick(call));
  const { micros, bytes } = await costOf(async () => {
    for (let call = 0; call < calls; call++) {
      const at = call % inFlight;
      const last = held[at];
      if (last !== undefined) release(last);
      held[at] = pick(call);
    }
  }, ms);
  process.stdout.write(JSON.stringify({ nanos: (micros * 1_000) / calls, bytes: bytes / calls }));
}
