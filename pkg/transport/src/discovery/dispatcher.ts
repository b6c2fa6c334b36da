import type { Dispatcher } from "undici";
import type { ServiceDispatcher, ServiceDispatcherOptions } from "./dispatcher-options.ts";

export type { ServiceAlias, ServiceDispatcher, ServiceDispatcherOptions } from "./dispatcher-options.ts";

/**
 * Makes `http://notes/things` lead to an instance of the service `notes`, for `fetch` and for undici: the less loaded of two, among those that can be
 * connected to. Connections come and go with the instances; a request under way on one that goes ends in order.
 *
 * An instance that cannot be connected to is passed over for another, and so is one that says that the request is meant for somebody else
 * (421). Nothing else is sent twice, but for a GET, HEAD or OPTIONS whose kept connection the instance closed just then. `Host` is the name in the URL. The HTTP
 * client is loaded with the first dispatcher.
 *
 * A request fails with {@link TransportError}: `ERR_NO_INSTANCE` where the registry knows none, `ERR_SERVICE_URL` for a URL that names no service,
 * `ERR_OVERLOADED` beyond `maxPending`, `ERR_RPC_CLIENT_CLOSED` after `close`; else with what undici says of the last instance. `fetch` tells them as the `cause`.
 * @throws OptionError `ERR_OPTION_RANGE`, `ERR_OPTION_TYPE`.
 * @throws {@link TransportError} `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE` for files of `tls` that cannot be used.
 * @example
 * const dispatcher = await createServiceDispatcher({ registry });
 * const reply = await fetch("http://notes/things", { dispatcher });
 */
export async function createServiceDispatcher(options: ServiceDispatcherOptions): Promise<ServiceDispatcher> {
  const { UndiciServiceDispatcher } = await import("./undici-dispatcher.ts");
  const dispatcher = new UndiciServiceDispatcher(options);
  if (!isForFetch(dispatcher)) throw new TypeError("the dispatcher is none of undici");
  return dispatcher;
}

/** What the types of Node know of undici is another version's than what is used here. */
function isForFetch(dispatcher: Dispatcher): dispatcher is ServiceDispatcher {
  return typeof dispatcher.dispatch === "function";
}
