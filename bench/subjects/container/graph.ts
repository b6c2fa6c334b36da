// The graph that every container builds: 100 layers of 10 things, each needing 3 of the layer above; and what a request adds
// to it: a chain of 5 things, each on one thing of the last layer.
import { costOf } from "../cost.ts";

const layers = 100;
const width = 10;
const requestThings = 5;
const requests = 100;

/** A thing that is started and stopped, and knows what it needs. */
export class Part {
  readonly needs: readonly Part[];
  isUp = false;

  constructor(needs: readonly Part[]) {
    this.needs = needs;
  }

  start(): void {
    running += 1;
    started += 1;
    this.isUp = true;
  }

  stop(): void {
    running -= 1;
    this.isUp = false;
  }
}

/** How many parts are up, and have ever been, so that a container that leaves some out is found out. */
let running = 0;
let started = 0;

export interface PartSpec {
  readonly name: string;
  readonly needs: readonly string[];
}

const nameOf = (layer: number, index: number): string => `part.${layer}.${index % width}`;

/** Needs before what needs them. */
export const parts: readonly PartSpec[] = Array.from({ length: layers * width }, (_, number) => {
  const [layer, index] = [Math.floor(number / width), number % width];
  const needs = layer === 0 ? [] : [0, 3, 7].map((step) => nameOf(layer - 1, index + step));
  return { name: nameOf(layer, index), needs };
});

/** The last layer: what has to be asked for so that all is built. */
export const ends: readonly string[] = parts.slice(-width).map(({ name }) => name);

/** The things of a request. */
export const requestParts: readonly PartSpec[] = Array.from({ length: requestThings }, (_, index) => ({
  name: `request.${index}`,
  needs: [nameOf(layers - 1, index), ...(index === 0 ? [] : [`request.${index - 1}`])],
}));

/** The one that needs all others of the request. */
export const requestEnd = `request.${requestThings - 1}`;

/** A built graph. */
export interface Built {
  /** Makes the things of one request, and stops them. */
  readonly request: () => Promise<void> | void;
  readonly stop: () => Promise<void> | void;
}

/**
 * Times a container and prints the figures: building, starting and stopping the graph, and one request of it.
 * The length of the window is this program's argument.
 *
 * @param build - Declares, builds and starts the graph.
 */
export async function reportContainer(build: () => Promise<Built> | Built): Promise<void> {
  const ms = Number(process.argv[2]) * 1_000;
  const expect = (count: number): void => {
    if (running !== count) throw new Error(`${running} parts are up, not ${count}`);
  };
  const graph = await costOf(async () => {
    const built = await build();
    expect(parts.length);
    await built.stop();
    expect(0);
  }, ms / 2);
  const built = await build();
  const startedBefore = started;
  let asked = 0;
  const request = await costOf(async () => {
    // Many in a call, so that what is timed is the request and not the timing.
    for (let count = 0; count < requests; count += 1) await built.request();
    asked += requests;
  }, ms / 2);
  expect(parts.length);
  const made = (started - startedBefore) / asked;
  if (made !== requestThings) throw new Error(`a request made ${made} things, not ${requestThings}`);
  await built.stop();
  const reading = {
    graphMs: graph.micros / 1_000,
    graphKib: graph.bytes / 1_024,
    requestMicros: request.micros / requests,
    requestBytes: request.bytes / requests,
  };
  process.stdout.write(JSON.stringify(reading));
}

/** The value of a map that has it. */
export function required<T>(map: ReadonlyMap<string, T>, name: string): T {
  const value = map.get(name);
  if (value === undefined) throw new Error(`there is no ${name}`);
  return value;
}
