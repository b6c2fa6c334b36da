import type { RequestContext } from "@plinth/kernel";
import type { RpcMetadata } from "./channel.ts";
import { badCall, type CallTarget } from "./errors.ts";

/** What the wires themselves use, and what of HTTP a caller has no business with. */
const reserved =
  /^(?:connect-|grpc-|trailer-|plinth-timeout-ms$|content-|transfer-encoding$|connection$|keep-alive$|upgrade$|host$|te$|trailer$|expect$|accept-encoding$|:)/;
const namePattern = /^[a-z0-9_.-]+$/;
const valuePattern = /^[\t\u0020-\u007e\u0080-\u00ff]*$/;
const binaryPattern = /^[A-Za-z0-9+/_-]*={0,2}$/;

/**
 * The headers of a call: its caller's, and the id of the request that it is made for. The channel adds the trace.
 * @throws {@link TransportError} `ERR_RPC_REQUEST` for a name that is the wires', or a value that no header holds.
 */
export function headersFor(
  context: RequestContext | undefined,
  given: RpcMetadata = {},
  target: CallTarget,
): RpcMetadata {
  const headers: Record<string, string> = {};
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
  }
  if (context?.requestId !== undefined) headers["x-request-id"] = context.requestId;
  return headers;
}
