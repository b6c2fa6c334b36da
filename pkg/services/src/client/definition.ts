import type { DescService } from "@bufbuild/protobuf";
import { OptionError, type Token, token } from "@plinth/kernel";
import { createRpcClient, type RpcClient } from "@plinth/transport";
import type { ServiceClientOptions } from "../calls.ts";

/** A contract with the client that calls it. */
export interface ClientDefinition<Name extends string = string, Client = unknown> {
  /** What the client is called among the clients, and in the section `services` of the config. */
  readonly name: Name;
  /** As its instances are registered, unless the config says otherwise. */
  readonly service: string;
  readonly descriptor: DescService;
  readonly create: (options: ServiceClientOptions) => Client;
  /** What an app's providers need to get the client. */
  readonly client: Token<Client, `services.${Name}`>;
}

export interface DefineClientOptions<Name extends string, S extends DescService> {
  /** Letters and digits, a lower-case letter first; not `close` or `describe`. */
  readonly name: Name;
  /** The contract, as protobuf-es generates it. */
  readonly descriptor: S;
  /** As its instances are registered. Default: its name. */
  readonly service?: string;
}

/**
 * Describes a client of a contract of one's own, to be made like those of Plinth: by `createServiceClients`, or for an app by `serviceClientsModuleOf`.
 *
 * @param options.create - Makes the client over a channel. Default: the methods of the contract, by `createRpcClient`.
 * @throws OptionError `ERR_OPTION_TYPE` for a name that no client can have.
 * @example
 * export const notesClient = defineClient({ name: "notes", descriptor: NotesService });
 * const clients = await createServiceClients({ registry, definitions: [notesClient] });
 * await clients.notes.getNote({ id: "1" });
 */
export function defineClient<const Name extends string, S extends DescService, Client>(
  options: DefineClientOptions<Name, S> & { readonly create: (options: ServiceClientOptions) => Client },
): ClientDefinition<Name, Client>;
export function defineClient<const Name extends string, S extends DescService>(
  options: DefineClientOptions<Name, S>,
): ClientDefinition<Name, RpcClient<S>>;
export function defineClient(
  options: DefineClientOptions<string, DescService> & { readonly create?: (options: ServiceClientOptions) => unknown },
): ClientDefinition {
  const { name, descriptor, service = name } = options;
  const { create = (given: ServiceClientOptions) => createRpcClient(descriptor, given) } = options;
  requireName(name);
  const client = token(`services.${name}`).of<unknown>();
  return Object.freeze({ name, service, descriptor, create, client });
}

/** The same where there is a token already. */
export function defineClientOf<const Name extends string, Client>(
  client: Token<Client, `services.${Name}`>,
  own: Omit<ClientDefinition<Name, Client>, "client" | "service">,
): ClientDefinition<Name, Client> {
  return Object.freeze({ ...own, service: own.name, client });
}

const reserved: ReadonlySet<string> = new Set(["close", "describe", "then"]);

function requireName(name: string): void {
  if (/^[a-z][a-zA-Z0-9]{0,62}$/.test(name) && !reserved.has(name)) return;
  const expected = "letters and digits, a lower-case letter first, and none of close, describe and then";
  throw new OptionError("ERR_OPTION_TYPE", "invalid_argument", `name of a client must be ${expected}`);
}
