import { messageOf, readTextFile, Secret } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";

export interface PasswordRequest {
  /** True when the server has just refused the password that was given before: a cache has an old one. */
  readonly refused: boolean;
  /** Aborts when nobody waits for the connection any more, or its time is up. */
  readonly signal: AbortSignal;
}

/** Asked for each new connection, so that a password changes without a restart. */
export type PasswordSource = (request: PasswordRequest) => string | Secret | Promise<string | Secret>;

export interface CredentialsOptions {
  /** Of the URL; what the others say goes before it. */
  readonly password: string | undefined;
  readonly source?: PasswordSource | undefined;
  readonly file?: string | undefined;
  /** Told once when the file has become unreadable, and its last content is used. */
  readonly onStale: (error: DatabaseError) => void;
}

const maxBytes = 64 * 1024;

/** Where the password for the next connection comes from. It is kept nowhere but in the last content of its file. */
export class Credentials {
  readonly #options: CredentialsOptions;
  #last: Secret | undefined;
  #isStale = false;

  constructor(options: CredentialsOptions) {
    this.#options = options;
  }

  /** Whether to ask again after a refusal may give another one. */
  get canChange(): boolean {
    return this.#options.source !== undefined || this.#options.file !== undefined;
  }

  /**
   * @throws {@link DatabaseError} `ERR_DATABASE_UNAVAILABLE` when the callback fails; `ERR_DATABASE_ACCESS` when the file cannot be
   *   read and never could.
   */
  async current(request: PasswordRequest): Promise<string | undefined> {
    const { source, file, password } = this.#options;
    if (source) return this.#ask(source, request);
    return file === undefined ? password : this.#read(file);
  }

  async #ask(source: PasswordSource, request: PasswordRequest): Promise<string> {
    let given: unknown;
    try {
      given = await source(request);
    } catch (cause) {
      const message = "the password callback failed, so the database was not asked";
      throw new DatabaseError("ERR_DATABASE_UNAVAILABLE", "unavailable", message, { cause });
    }
    const text: unknown = given instanceof Secret ? given.reveal() : given;
    if (typeof text === "string" && text !== "") return text;
    const message = "the password callback gave no password; expected a text that is not empty";
    throw new DatabaseError("ERR_DATABASE_ACCESS", "internal", message);
  }

  #read(path: string): string {
    try {
      const text = readTextFile(path, maxBytes).text.replace(/\r?\n$/, "");
      if (text === "") throw new Error("it is empty");
      this.#last = new Secret(text);
      this.#isStale = false;
      return text;
    } catch (cause) {
      const problem = `the file of passwordFile, ${path}, cannot be read: ${messageOf(cause)}`;
      const advice = this.#last ? "; the password it had before is used" : "";
      const error = new DatabaseError("ERR_DATABASE_ACCESS", "internal", problem + advice, { cause });
      if (!this.#last) throw error;
      if (!this.#isStale) this.#options.onStale(error);
      this.#isStale = true;
      return this.#last.reveal();
    }
  }
}
