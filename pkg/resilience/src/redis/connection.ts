import { type CommandParser, createClient, createCluster, defineScript } from "@redis/client";
import { type RedisAddress, credentialsOf, type RedisOptions, tlsOf } from "./options.ts";
import { giveBackScript, takeScript } from "./scripts.ts";
import { addTextsScript, changedTextsScript, removeTextsScript } from "./text-scripts.ts";

export type ScriptName = "take" | "giveBack" | "addTexts" | "removeTexts" | "changedTexts";

/** One client of a server or a Cluster, from its opening to its end. It opens connections that it loses again. */
export interface RedisConnection {
  readonly isReady: boolean;
  /** Resolves when it is ready. */
  connect(): Promise<unknown>;
  /** @param keys - As many as the script has, all on one node of a Cluster. */
  run(script: ScriptName, keys: readonly string[], args: readonly string[]): Promise<unknown>;
  /** At once; what waits for an answer is rejected. */
  destroy(): void;
}

/** Waiting for an answer at one time; past that questions are refused. */
const maxWaiting = 10_000;
const maxReconnectMs = 1_000;

const scriptOf = (source: string, keyCount: number) =>
  defineScript({
    SCRIPT: source,
    NUMBER_OF_KEYS: keyCount,
    FIRST_KEY_INDEX: 1,
    parseCommand: (parser: CommandParser, keys: readonly string[], args: readonly string[]) => {
      for (const key of keys) parser.pushKey(key);
      parser.push(...args);
    },
    transformReply: (reply: unknown): unknown => reply,
  });

/** Sent by their hash; the client sends the whole where the server does not know it. */
const scripts = {
  take: scriptOf(takeScript, 1),
  giveBack: scriptOf(giveBackScript, 1),
  addTexts: scriptOf(addTextsScript, 2),
  removeTexts: scriptOf(removeTextsScript, 2),
  changedTexts: scriptOf(changedTextsScript, 2),
} satisfies Record<ScriptName, unknown>;

/** @param onError - Told why it is not connected; may be called often. */
export function openConnection(
  options: RedisOptions,
  addresses: readonly [RedisAddress, ...RedisAddress[]],
  onError: (error: unknown) => void,
): RedisConnection {
  const [first] = addresses;
  const { connectTimeoutMs = 1_000, cluster = false } = options;
  const common = {
    disableOfflineQueue: true,
    commandsQueueMaxLength: maxWaiting,
    disableClientInfo: true,
    maintNotifications: "disabled",
    credentialsProvider: {
      type: "async-credentials-provider",
      credentials: async () => credentialsOf(options, first),
    },
  } as const;
  const times = { connectTimeout: connectTimeoutMs, reconnectStrategy: reconnectMs };
  const secure = first.isTls ? { ...times, tls: true as const, ...tlsOf(options) } : times;
  if (cluster) {
    const client = createCluster({
      rootNodes: addresses.map(({ host, port }) => ({ socket: { ...secure, host, port }, ...common })),
      defaults: { ...common, socket: secure },
      scripts,
    });
    client.on("error", onError);
    client.on("node-error", onError);
    return connectionOf(client);
  }
  const { host, port, database } = first;
  const client = createClient({ ...common, socket: { ...secure, host, port }, database, scripts });
  client.on("error", onError);
  return connectionOf(client);
}

/** What both kinds of client have alike, and no more of them. */
type Client = Omit<RedisConnection, "run"> &
  Readonly<Record<ScriptName, (keys: readonly string[], args: readonly string[]) => Promise<unknown>>>;

function connectionOf(client: Client): RedisConnection {
  return {
    get isReady() {
      return client.isReady;
    },
    connect: () => client.connect(),
    run: (script, keys, args) => client[script](keys, args),
    destroy: () => client.destroy(),
  };
}

/** Soon at first, at most a second apart, and not all gateways at the same moment. */
function reconnectMs(retries: number): number {
  const ceilingMs = Math.min(maxReconnectMs, 50 * 2 ** Math.min(retries, 6));
  return Math.round(ceilingMs * (0.5 + Math.random() / 2));
}
