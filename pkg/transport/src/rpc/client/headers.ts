import type { RequestContext } from "@plinth/kernel";
import type { RpcMetadata } from "./channel.ts";
import { badCall, type CallTarget } from "./errors.ts";

/** What the wires themselves use, and what of HTTP a caller has no business with. */
const reserved =
  /^(?:connect-|grpc-|trailer-|plinth-timeout-ms$|content-|transfer-encoding$|connection$|keep-alive$|upgrade$|host$|te$|trailer$|expect$|accept-encoding$|:)/;
const namePattern = /^[a-z0-9_.-]+$/;
/** What gRPC has room for, so that a value goes over every wire or over none. */
const valuePattern = /^[\u0020-\u007e]*$/;
/** More is refused by servers: by those of HTTP at best, over HTTP/2 often with the connection and all other calls on it. */
const maxBytes = 16_384;
const maxCount = 64;
const binaryPattern = /^[A-Za-z0-9+/_-]*={0,2}$/;

/**
 * The headers of a call: its caller's, and the id of the request that it is made for. The channel adds the trace.
 * @throws {@link TransportError} `ERR_RPC_REQUEST` for a name that is the wires', a value that no header holds, or too many of them.
 */
export function headersFor(
  context: RequestContext | undefined,
  given: RpcMetadata = {},
  target: CallTarget,
): RpcMetadata {
  const headers: Record<string, string> = {};
  let [bytes, count] = [0, 0];
  for (const [name, value] of Object.entries(given)) {
    if (!namePattern.test(name) || reserved.test(name))
      throw badCall(
        target,
        `the header ${JSON.stringify(name)} cannot be sent; names are in lower case, and not the wire's`,
      );
    if (!(name.endsWith("-bin") ? binaryPattern : valuePattern).test(value))
      throw badCall(
        target,
        `the value of the header ${name} cannot be sent; binary ones are base64 under a name in -bin`,
      );
    headers[name] = value;
    bytes += name.length + value.length;
    if (bytes > maxBytes || ++count > maxCount)
      throw badCall(target, `its headers are more than ${maxCount}, or than ${maxBytes} bytes; send such as a message`);
  }
  if (context?.requestId !== undefined) headers["x-request-id"] = context.requestId;
  return headers;
}
