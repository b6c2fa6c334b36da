import { create, type DescMethod, type MessageInitShape } from "@bufbuild/protobuf";
import { AppError } from "@plinth/kernel";
import {
  type ChannelCall,
  RpcError,
  type RpcErrorOptions,
  type RpcChannel,
  type StreamChannelCall,
  type UnaryChannelCall,
} from "@plinth/transport";

/** What an instance does with a call: its reply, or what it fails with. */
export type Script = (call: ChannelCall<DescMethod>) => unknown;

/** Channels to instances that do what a test says, and what was sent to each. */
export interface ScriptedLines {
  readonly open: (address: string) => Promise<RpcChannel>;
  /** Calls by address, in the order in which they came. */
  readonly sent: { readonly address: string; readonly call: ChannelCall<DescMethod> }[];
  /** Addresses, one for each channel that was made. */
  readonly opened: string[];
  /** Addresses whose channel was closed. */
  readonly closed: string[];
  /** How often each was called, by address. */
  counts(): Readonly<Record<string, number>>;
}

/** @param scriptOf - What the instance at an address does. */
export function scriptedLines(scriptOf: (address: string) => Script): ScriptedLines {
  const sent: ScriptedLines["sent"] = [];
  const opened: string[] = [];
  const closed: string[] = [];
  return {
    sent,
    opened,
    closed,
    counts: () =>
      Object.fromEntries(
        Object.entries(Object.groupBy(sent, (one) => one.address)).map(([address, calls]) => [
          address,
          calls?.length ?? 0,
        ]),
      ),
    open: async (address) => {
      opened.push(address);
      return {
        peer: "scripted",
        async unary<M extends DescMethod>(call: UnaryChannelCall<M>) {
          sent.push({ address, call });
          return messageOf(call.method, await beforeAbort(scriptOf(address)(call), call.signal));
        },
        async *stream<M extends DescMethod>(call: StreamChannelCall<M>) {
          sent.push({ address, call });
          const replies = await beforeAbort(scriptOf(address)(call), call.signal);
          if (isIterable(replies)) for await (const reply of replies) yield messageOf(call.method, reply);
        },
        close: async () => void closed.push(address),
      };
    },
  };
}

function messageOf<M extends DescMethod>(method: M, reply: unknown) {
  const output: M["output"] = method.output;
  const isInit = (value: unknown): value is MessageInitShape<M["output"]> => typeof value === "object";
  return create(output, isInit(reply) ? reply : undefined);
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

async function beforeAbort(work: unknown, signal: AbortSignal): Promise<unknown> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

const target = { peer: "scripted", method: "a.B/C" };

/** The connection was refused: surely nothing was done. */
export function refused(): Promise<never> {
  return failing("unavailable", { isUnsent: true });
}

/** The connection was lost after the call was sent. */
export function lost(): Promise<never> {
  return failing("unavailable");
}

/** Another instance was meant. */
export function misdirected(): Promise<never> {
  return failing("unavailable", { isUnsent: true, cause: AppError.unavailable("ERR_MISDIRECTED", "not me") });
}

/** It answers with an error. */
export async function failing(
  status: AppError["status"],
  options: Partial<RpcErrorOptions> & { readonly code?: string } = {},
): Promise<never> {
  const { code = "ERR_RPC_UNAVAILABLE", ...own } = options;
  throw new RpcError(code, status, status, { ...target, ...own });
}

/** It never answers. */
export function silent(): Promise<never> {
  return new Promise(() => {});
}
