import type { DescField, DescMethod, Registry } from "@bufbuild/protobuf";
import type { PathVariable } from "./path-template.ts";

/** What a route says of the messages that it translates. */
export interface TranscodingLimits {
  /** Of a request, as JSON and as a message, in bytes. */
  readonly maxRequestBytes: number;
  /** Of each message of a reply, in bytes. */
  readonly maxReplyBytes: number;
  /** Objects and lists within each other in a request. */
  readonly maxDepth: number;
  /** Fields of a reply that have their default are written out. */
  readonly emitDefaults: boolean;
}

/** One way to call a method of gRPC by HTTP and JSON: everything worked out that does not depend on the request. */
export interface Binding {
  /** `package.Service/Method`. */
  readonly rpc: string;
  readonly method: DescMethod;
  readonly verb: string | undefined;
  readonly variables: readonly BoundVariable[];
  /** `all` of the request, one field, or undefined for none. */
  readonly body: "all" | DescField | undefined;
  /** The body of a request is bytes of any type, no JSON. */
  readonly takesBytes: boolean;
  /** The field that the body of a reply is; undefined: all of it. */
  readonly responseBody: DescField | undefined;
  /** The body of a reply is bytes of a type that the service names, no JSON. */
  readonly givesBytes: boolean;
  readonly registry: Registry;
  readonly limits: TranscodingLimits;
  /** Somewhere in the request JSON of any form may stand, where a number is nothing but a number. */
  readonly takesAnyJson: boolean;
}

export interface BoundVariable extends PathVariable {
  /** The fields that it names, from the outside in. */
  readonly fields: readonly DescField[];
}
