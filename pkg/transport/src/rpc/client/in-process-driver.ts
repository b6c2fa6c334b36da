import {
  create,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { AppError, type Clock, isServerFault, messageOf, runInContext, systemClock } from "@plinth/kernel";
import { toUnexpected } from "../../exchange.ts";
import { toProblem } from "../../problem.ts";
import { errorDetails } from "../details.ts";
import { type ErasedHandler, methodName, requireMessage, type RpcService } from "../service.ts";
import type { ChannelCall, RpcChannel, StreamChannelCall, UnaryChannelCall } from "./channel.ts";
import { badCall, type CallTarget } from "./errors.ts";
import { InFlight } from "./in-flight.ts";
import { InProcessCall } from "./in-process-call.ts";
import { toRemoteError } from "./remote-error.ts";

import type { InProcessChannelOptions } from "./in-process-channel.ts";

/** See `createInProcessChannel`. */
export class InProcessChannel implements RpcChannel {
  readonly peer: string;
  readonly #handlers = new Map<string, ErasedHandler>();
  readonly #clock: Clock;
  readonly #onFault: (error: AppError) => void;
  readonly #calls: InFlight;

  constructor(services: readonly RpcService[], options: InProcessChannelOptions) {
    const { peer = "in-process", clock = systemClock, onFault = () => {} } = options;
    this.peer = peer;
    this.#clock = clock;
    this.#onFault = onFault;
    this.#calls = new InFlight(peer);
    for (const { descriptor, handlers } of services)
      for (const method of descriptor.methods) {
        const handler = handlers[method.localName];
        const name = methodName(method);
        if (this.#handlers.has(name)) throw new TypeError(`${descriptor.typeName} is served twice`);
        if (handler) this.#handlers.set(name, handler);
      }
  }

  async unary<M extends DescMethod>(call: UnaryChannelCall<M>): Promise<MessageShape<M["output"]>> {
    const { method, request } = call;
    const target = this.#targetOf(method);
    const own = this.#begin(call);
    try {
      const input = copyOf(method.input, request, (cause) => notOf(method, target, cause));
      const handler = this.#handlerOf(target);
      const reply = await own.race(within(own, () => handler(input, own)));
      const output = replyOf(method, reply);
      own.tellHeaders();
      own.tellTrailers();
      return output;
    } catch (error) {
      throw this.#failure(error, own, target);
    } finally {
      own.end();
    }
  }

  async *stream<M extends DescMethod>(call: StreamChannelCall<M>): AsyncGenerator<MessageShape<M["output"]>> {
    const { method, requests } = call;
    const target = this.#targetOf(method);
    const own = this.#begin(call);
    let replies: AsyncIterator<unknown> | undefined;
    try {
      const handler = this.#handlerOf(target);
      const inputs = copiesOf(method, requests, (cause) => notOf(method, target, cause));
      const isOne = method.methodKind === "server_streaming" || method.methodKind === "unary";
      const input: unknown = isOne ? await own.race(firstOf(inputs)) : inputs;
      const made: unknown = await own.race(within(own, () => handler(input, own)));
      const iterator = iteratorOf(made);
      replies = iterator;
      for (;;) {
        const next = await own.race(runInContext(own, () => iterator.next()));
        if (next.done === true) break;
        const reply = replyOf(method, next.value);
        own.tellHeaders();
        yield reply;
      }
      replies = undefined;
      own.tellHeaders();
      own.tellTrailers();
    } catch (error) {
      throw this.#failure(error, own, target);
    } finally {
      own.leave();
      own.end();
      // whoever waits inside it is told by the signal: its end is not waited for
      if (replies) void within(own, () => replies?.return?.()).catch(() => {});
    }
  }

  close({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    return this.#calls.close(signal);
  }

  #begin(call: ChannelCall<DescMethod>): InProcessCall {
    return new InProcessCall(call, this.#calls, this.#clock);
  }

  #targetOf(method: DescMethod): CallTarget {
    return { peer: this.peer, method: methodName(method) };
  }

  #handlerOf(target: CallTarget): ErasedHandler {
    const handler = this.#handlers.get(target.method);
    if (handler) return handler;
    throw new Told(
      toRemoteError({ ...target, status: "unimplemented", message: `${target.method} is not served`, details: [] }),
    );
  }

  /** What the caller is told: why it stopped waiting, what it did wrong, or what the handler threw as far as that leaves a server. */
  #failure(thrown: unknown, own: InProcessCall, target: CallTarget): unknown {
    if (own.stopped) return own.stopped;
    if (thrown instanceof Told) return thrown.error;
    const error = AppError.is(thrown) ? thrown : toUnexpected(thrown);
    if (isServerFault(error.status) || error !== thrown) this.#onFault(error);
    own.tellHeaders();
    own.tellTrailers();
    const details = errorDetails(error, isServerFault(error.status)).map(({ typeName, value }) => ({
      typeName,
      value,
    }));
    return toRemoteError({ ...target, status: error.status, message: toProblem(error).detail ?? "", details });
  }
}

/** Runs what a handler does, as a part of the call. */
async function within(call: InProcessCall, work: () => unknown): Promise<unknown> {
  return runInContext(call, work);
}

/** What is for the caller as it is: no handler has thrown it. */
class Told extends Error {
  readonly error: Error;

  constructor(error: Error) {
    super(error.message);
    this.error = error;
  }
}

function notOf(method: DescMethod, target: CallTarget, cause: unknown): Told {
  return new Told(badCall(target, `its request is no ${method.input.typeName}: ${messageOf(cause)}`, cause));
}

/** The same message, made anew from its bytes. */
function copyOf<D extends DescMethod["input"]>(
  schema: D,
  init: MessageInitShape<D>,
  toError: (cause: unknown) => Error,
): MessageShape<D> {
  try {
    return fromBinary(schema, toBinary(schema, create(schema, init)));
  } catch (cause) {
    throw toError(cause);
  }
}

async function* copiesOf<M extends DescMethod>(
  method: M,
  requests: AsyncIterable<MessageInitShape<M["input"]>>,
  toError: (cause: unknown) => Error,
): AsyncGenerator<MessageShape<M["input"]>> {
  const input: M["input"] = method.input;
  for await (const request of requests) yield copyOf(input, request, toError);
}

function replyOf<M extends DescMethod>(method: M, reply: unknown): MessageShape<M["output"]> {
  const output: M["output"] = method.output;
  const message = create(method.output, requireMessage(method, reply));
  return fromBinary(output, toBinary(method.output, message));
}

async function firstOf(inputs: AsyncIterable<unknown>): Promise<unknown> {
  for await (const input of inputs) return input;
  throw AppError.invalidArgument("ERR_REQUEST_BODY", "there is no request");
}

/** A handler of many replies gives them one by one; of one reply, that. */
function iteratorOf(made: unknown): AsyncIterator<unknown> {
  if (isIterable(made)) return made[Symbol.asyncIterator]();
  return (async function* one() {
    yield made;
  })();
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}
