import { RegistryError } from "../errors.ts";
import { parseArray, responseError } from "./answers.ts";
import type { ConsulAdvice, ConsulAnswer } from "./http.ts";
import type { KvEntry, KvSelector } from "./kv.ts";

/**
 * The entries of `GET /v1/kv/…`, in the order of their keys.
 * @throws {@link RegistryError} `ERR_REGISTRY_RESPONSE` when they are not what was asked for: half a folder is none.
 */
export function parseKvEntries(text: string, selector: KvSelector): readonly KvEntry[] {
  const name = selector.key ?? selector.prefix;
  const entries = parseArray(text, name).map((given) => {
    const entry = toEntry(given);
    if (!entry) throw responseError(name, `an entry is no key with a base64 value`);
    const isRight = selector.key === undefined ? entry.key.startsWith(name) : entry.key === name;
    if (!isRight) throw responseError(name, `it holds the key ${JSON.stringify(entry.key.slice(0, 200))}`);
    return entry;
  });
  return entries.toSorted((a, b) => (a.key < b.key ? -1 : 1));
}

/**
 * A token that may not list a folder sees it empty, and newer agents say so in a header.
 * @throws {@link RegistryError} `ERR_REGISTRY_DENIED`
 */
export function requireUnfiltered(headers: ConsulAnswer["headers"], selector: KvSelector): void {
  if (headers["x-consul-results-filtered-by-acls"] !== "true") return;
  throw new RegistryError(
    "ERR_REGISTRY_DENIED",
    "permission_denied",
    `the agent left out keys of ${selector.key ?? selector.prefix} that the token may not read; ${adviceFor("read", selector).denied}`,
  );
}

/** What to try when keys cannot be had. */
export function adviceFor(policy: "read" | "write", { key, prefix }: KvSelector): ConsulAdvice {
  const rule = `${key === undefined ? "key_prefix" : "key"} ${JSON.stringify(key ?? prefix)} { policy = "${policy}" }`;
  return {
    denied: `the token needs a policy with ${rule}`,
    tooLarge: "raise maxResponseBytes if so much is meant",
    unreachable: "is the agent running, and is the address right?",
  };
}

const base64 = /^[A-Za-z0-9+/]*={0,2}$/;

function toEntry(given: unknown): KvEntry | undefined {
  if (typeof given !== "object" || given === null) return undefined;
  const { Key, Value, ModifyIndex }: { Key?: unknown; Value?: unknown; ModifyIndex?: unknown } = given;
  const text = Value ?? ""; // an empty value is null
  if (typeof Key !== "string" || typeof ModifyIndex !== "number" || typeof text !== "string") return undefined;
  if (text.length % 4 !== 0 || !base64.test(text)) return undefined;
  return { key: Key, value: Buffer.from(text, "base64"), modifyIndex: ModifyIndex };
}
