import { TransportError } from "./errors.ts";
import type { Exchange } from "./exchange.ts";
import type { Middleware, RequestOutcome } from "./middleware.ts";

/** What a wire does around a middleware. None of it throws. */
export interface MiddlewareHost {
  /** Goes on with what is inside of the middleware; called at most once, and never for a request that is answered or given up. */
  readonly goOn: () => void;
  /** Answers in place of what is inside of the middleware, which has not been reached. */
  readonly refuse: (thrown: unknown) => void;
  /** Takes what comes too late for the caller. */
  readonly report: (thrown: unknown) => void;
}

/** Runs one middleware around one request: what `next` does, and what it means to throw or to return without it, on every wire. */
export function runMiddleware(
  { name, handle }: Middleware,
  exchange: Exchange,
  { goOn, refuse, report }: MiddlewareHost,
): void {
  let hasCalled = false;
  let isDone = false;
  const next = (): Promise<RequestOutcome> => {
    if (hasCalled) report(wrongNext(`the middleware ${name} called next twice; the second call did nothing`));
    else {
      hasCalled = true;
      if (!isDone && !exchange.isOver && exchange.stopped === undefined) goOn();
    }
    return exchange.over;
  };
  const failed = (thrown: unknown): void => {
    const isTooLate = hasCalled || isDone;
    isDone = true;
    if (isTooLate) report(thrown);
    else refuse(thrown);
  };
  const returned = (): void => {
    if (hasCalled || isDone || exchange.isOver || exchange.stopped !== undefined) return;
    failed(
      wrongNext(`the middleware ${name} returned without calling next; call it, or throw what the caller should see`),
    );
  };
  try {
    handle(exchange, next).then(returned, failed);
  } catch (thrown) {
    failed(thrown); // it is no async function
  }
}

function wrongNext(message: string): TransportError {
  return new TransportError("ERR_MIDDLEWARE_NEXT", "internal", message);
}
