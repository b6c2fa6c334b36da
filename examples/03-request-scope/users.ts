import { AppError, defineModule, provider, token } from "@plinth/kernel";
import { incoming } from "@plinth/transport";

export interface User {
  readonly name: string;
}

/** Who stands behind a token. */
export interface Directory {
  find(token: string): Promise<User | undefined>;
}

const known = new Map<string, User>([
  ["ada-1815", { name: "ada" }],
  ["alan-1912", { name: "alan" }],
]);

export const directory = token("users.directory").of<Directory>();
/** Who asks. Looked up when a handler first wants to know, once for each request. */
export const currentUser = token("users.current").perRequest<User>();

export const usersModule = defineModule("users", [
  provider({ provides: directory, create: () => ({ find: async (token) => known.get(token) }) }),
  provider({
    provides: currentUser,
    needs: { incoming, directory },
    create: async ({ incoming, directory }) => {
      const [, token = ""] = /^Bearer (.+)$/.exec(incoming.header("authorization") ?? "") ?? [];
      const user = await directory.find(token);
      if (!user) throw new AppError("ERR_USER_UNKNOWN", "unauthenticated", "send a token that we know");
      return user;
    },
  }),
]);
