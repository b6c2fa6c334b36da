import type { DescMethod } from "@bufbuild/protobuf";
import { createTracing } from "@plinth/kernel";
import { type ErasedHandler, methodName, type RpcService } from "../rpc/service.ts";
import type { AuthGate, CheckedNeed } from "../auth-gate.ts";
import type { MessageCount } from "./observe.ts";

/** Makes the spans of probes, which no trace shows. */
export const unseen = createTracing();

/** What is known of a method without its calls. */
export interface Served {
  /** `package.Service/Method`, or `unmatched`. */
  readonly name: string;
  /** Absent: nobody serves it. */
  readonly method: DescMethod | undefined;
  readonly handler: ErasedHandler | undefined;
  readonly isUnary: boolean;
  readonly hasManyRequests: boolean;
  readonly hasManyReplies: boolean;
  /** Left out of metrics, traces and access log, and never refused for overload. */
  readonly isProbe: boolean;
  /** What it asks of its callers. */
  readonly need: CheckedNeed;
  readonly messages: MessageCount;
}

export interface ServedOptions {
  /** Probes are counted nowhere, and ask nobody: routers have no name. */
  readonly isProbe: boolean;
  readonly gate: AuthGate;
  readonly messagesOf: (method: string) => MessageCount;
}

const nobodyIsAsked: CheckedNeed = { mode: "none", scopes: [] };

/** The methods of a service, by their path on the wire. */
export function servedMethods(
  { descriptor, handlers, needs }: RpcService,
  { isProbe, gate, messagesOf }: ServedOptions,
): [path: string, Served][] {
  return descriptor.methods.map((method) => {
    const handler = handlers[method.localName];
    if (!handler) throw new TypeError(`${descriptor.typeName} has no handler for ${method.localName}`);
    const name = methodName(method);
    const { methodKind } = method;
    const served: Served = {
      name,
      method,
      handler,
      isUnary: methodKind === "unary",
      hasManyRequests: methodKind === "client_streaming" || methodKind === "bidi_streaming",
      hasManyReplies: methodKind === "server_streaming" || methodKind === "bidi_streaming",
      isProbe,
      need: isProbe ? nobodyIsAsked : gate.checkNeed(needs?.[method.localName], `the method ${name}`),
      messages: isProbe ? { received: 0, sent: 0 } : messagesOf(name),
    };
    return [`/${name}`, served];
  });
}

export function unmatchedMethod(messages: MessageCount): Served {
  return {
    name: "unmatched",
    method: undefined,
    handler: undefined,
    isUnary: true,
    hasManyRequests: true,
    hasManyReplies: false,
    isProbe: false,
    need: nobodyIsAsked,
    messages,
  };
}
