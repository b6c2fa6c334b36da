import type { DescMethod } from "@bufbuild/protobuf";
import { type ErasedHandler, methodName, type RpcService } from "../rpc/service.ts";
import type { MessageCount } from "./observe.ts";

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
  readonly messages: MessageCount;
}

/** The methods of a service, by their path on the wire. */
export function servedMethods(
  { descriptor, handlers }: RpcService,
  isProbe: boolean,
  messagesOf: (method: string) => MessageCount,
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
      messages: isProbe ? { received: 0, sent: 0 } : messagesOf(name), // probes are counted nowhere
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
    messages,
  };
}
