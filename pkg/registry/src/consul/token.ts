import { messageOf, OptionError, readTextFile, Secret } from "@plinth/kernel";
import { RegistryError } from "../errors.ts";
import type { ConsulConnectionOptions } from "./connection.ts";

const maxFileBytes = 64 * 1024;

/** The ACL token, as it is now. */
export class ConsulToken {
  readonly #file: string | undefined;
  /** What was given, or last read from the file. */
  #last: Secret | undefined;

  /** @throws {@link OptionError} `ERR_OPTION_RANGE` */
  constructor({ token, tokenFile }: Pick<ConsulConnectionOptions, "token" | "tokenFile">) {
    if (token !== undefined && tokenFile !== undefined) {
      throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", "token and tokenFile must not both be given");
    }
    if (tokenFile === "") throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", "tokenFile must not be empty");
    const given = typeof token === "string" ? new Secret(token) : token;
    if (given !== undefined && !isToken(given.reveal())) {
      throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", `token must be ${whatIsToken}`);
    }
    this.#file = tokenFile;
    this.#last = given;
  }

  /** Whether there can be another one later. */
  get isFile(): boolean {
    return this.#file !== undefined;
  }

  /**
   * What to send with a request that begins now. While the file cannot be read, as in the moment of its replacement, that is what
   * was read last: a token that holds no longer is refused by Consul itself.
   *
   * @throws {@link RegistryError} `ERR_REGISTRY_TOKEN`, naming the file, when it could never be read.
   */
  now(): Secret | undefined {
    if (this.#file === undefined) return this.#last;
    try {
      this.#last = readToken(this.#file);
    } catch (error) {
      if (this.#last === undefined) throw error;
    }
    return this.#last;
  }
}

const whatIsToken = "one line of visible ASCII characters, as a UUID is";

function isToken(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text); // anything else would be another header, or refused with a word of it
}

function readToken(path: string): Secret {
  const fault = (why: string, cause?: unknown): RegistryError =>
    new RegistryError(
      "ERR_REGISTRY_TOKEN",
      "failed_precondition",
      `the file of the Consul token, ${path}, ${why}; is tokenFile right, and may this process read it?`,
      { cause },
    );
  let text: string;
  try {
    text = readTextFile(path, maxFileBytes).text.trim();
  } catch (cause) {
    throw fault(`cannot be read: ${messageOf(cause)}`, cause);
  }
  if (text === "") throw fault("is empty");
  if (!isToken(text)) throw fault(`must hold ${whatIsToken}`);
  return new Secret(text);
}
