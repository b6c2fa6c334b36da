import { OptionError } from "@plinth/kernel";
import { Client } from "pg";

/** Where a database is, without what opens it. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly database: string;
}

/**
 * Reads host, port and database as pg will use them. Nothing is connected.
 * @throws {@link OptionError} `ERR_OPTION_TYPE`, without the URL, which may hold a password.
 */
export function addressOf(url: string): ServerAddress {
  if (!/^postgres(?:ql)?:\/\//.test(url) || !URL.canParse(url)) {
    throw new OptionError(
      "ERR_OPTION_TYPE",
      "invalid_argument",
      "url must be of the form postgres://user:password@host:5432/database; characters such as @ and / in a password are written %40 and %2F",
    );
  }
  const { host, port, database = "", user = "" } = new Client({ connectionString: url });
  return { host, port, database: database || user };
}
