import { OptionError } from "@plinth/kernel";
import type { InstanceSource } from "./resolver-names.ts";

export interface PlinthResolverOptions extends InstanceSource {
  /** Names by which targets may tell this registry from others of the process, as in `plinth://NAME/service`. Default none. */
  readonly names?: readonly string[];
}

/** A registry that targets of gRPC channels find. */
export interface PlinthResolver {
  /**
   * The target of a service, with the first name where there is one, so that it means this registry whichever others there are.
   * @throws {@link OptionError} `ERR_OPTION_TYPE` for what no service is called.
   */
  target(service: string): string;
  /** Takes the registry out. Channels that follow it go on, with what they have been told. Safe to call twice. */
  close(): void;
}

/**
 * Makes `plinth:///service` a target of grpc-js, for clients that are generated or made by hand: `new Client(resolver.target("notes"), …)`.
 * It is looked up in this registry as long as there is no other in the process; with a name, `plinth://NAME/service`, in any case. Calls are balanced by load and weight, fail as
 * `UNAVAILABLE` at once where there is no instance, and wait for one where their metadata says `waitForReady`. Channels of ours take a `registry` instead.
 *
 * A channel with a `grpc.service_config` of its own has to name the policy in it: `{"loadBalancingConfig":[{"plinth":{}}]}`. Where an HTTP proxy is set in the environment,
 * set `grpc.enable_http_proxy` to 0, else the library sends the target to the proxy.
 * @throws OptionError `ERR_OPTION_TYPE` for a name that no target can hold.
 * @see Targets: https://github.com/grpc/grpc/blob/master/doc/naming.md
 */
export async function registerPlinthResolver({
  names = [],
  ...source
}: PlinthResolverOptions): Promise<PlinthResolver> {
  for (const name of names) check(/^[^/\s]+$/.test(name), "names", name, "a text without / and spaces");
  const [{ registerScheme }, { addResolverName }] = await Promise.all([
    import("./grpc-resolver.ts"),
    import("./resolver-names.ts"),
  ]);
  registerScheme();
  const close = addResolverName({ names, source });
  return {
    target(service) {
      check(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(service), "service", service, "the name of a service");
      return `plinth://${names[0] ?? ""}/${service}`;
    },
    close,
  };
}

function check(holds: boolean, field: string, given: string, expected: string): void {
  if (!holds)
    throw new OptionError(
      "ERR_OPTION_TYPE",
      "invalid_argument",
      `${field} must be ${expected}, not "${given.slice(0, 200)}"`,
    );
}
