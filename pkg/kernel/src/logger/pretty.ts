import { createRequire } from "node:module";
import type * as PinoPretty from "pino-pretty";
import type { LogDestination } from "./pino.ts";

const load = createRequire(import.meta.url);

/** Loaded only where it is wanted: in a terminal. */
export function prettified(destination: LogDestination): LogDestination {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the package says of itself
  const { prettyFactory } = load("pino-pretty") as typeof PinoPretty;
  const toText = prettyFactory({
    ignore: "pid,hostname,service",
    messageFormat: "{if service}{service}: {end}{message}",
    singleLine: true,
    messageKey: "message",
    translateTime: "HH:MM:ss.l",
    errorLikeObjectKeys: ["error"],
  });
  return {
    write: (line) => destination.write(toText(line)),
    flush: (done) => (destination.flush ? destination.flush(done) : done()),
    flushSync: () => destination.flushSync?.(),
  };
}
