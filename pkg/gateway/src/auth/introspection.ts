import { type Clock, runOutsideContext } from "@plinth/kernel";
import type { AuthClient, Introspection as Answer } from "@plinth/services";
import { TokenCache, tokenKey } from "@plinth/transport/jwt";
import type { AuthServicesConfig } from "../config/schema-auth-services.ts";
import { toIdentityHeaders } from "../headers/outgoing.ts";
import { addressKey } from "../server/route.ts";
import type { KnownCaller } from "./authenticator.ts";

/** Whose token it is; undefined for one that is no longer, or never was, any good. */
type Told = KnownCaller | undefined;

interface Remembered {
  readonly usableUntilMs: number;
  readonly keyVersion: 0;
  readonly told: Told;
}

/** A longer text is no token of anybody's, in characters. */
const maxTokenLength = 8_192;
/** Tokens whose answers are remembered. */
const maxRemembered = 10_000;
/** Tokens that are asked about at the same time. */
const maxAsking = 1_000;
/** Of those, for requests from one IPv4 address or IPv6 /64. */
const maxAskingPerAddress = 50;

export interface IntrospectionOptions {
  readonly client: Pick<AuthClient, "introspect">;
  readonly clock: Clock;
  readonly config: AuthServicesConfig;
}

/** Asks Auth about tokens: of each once at a time, and not again for as long as the answer counts. RFC 7662. */
export class Introspection {
  readonly #options: IntrospectionOptions;
  readonly #known = new TokenCache<Remembered>(maxRemembered);
  readonly #asking = new Map<string, Promise<Told>>();
  /** How many of them, by address. */
  readonly #askingFor = new Map<string, number>();

  constructor(options: IntrospectionOptions) {
    this.#options = options;
  }

  /**
   * @param address - Of the client.
   * @returns At once where the answer is known; `busy` when too many are asked about already, from this address or altogether.
   * @throws What the client throws, when Auth does not tell.
   */
  ask(token: string, address: string): Told | "busy" | Promise<Told> {
    if (token.length > maxTokenLength || !/^[\w.~+/-]+=*$/.test(token)) return undefined;
    const key = tokenKey(token);
    const known = this.#known.get(key);
    if (known && this.#options.clock.now() < known.usableUntilMs) return known.told;
    const asking = this.#asking.get(key);
    if (asking) return asking;
    const from = addressKey(address);
    const asked = this.#askingFor.get(from) ?? 0;
    if (this.#asking.size >= maxAsking || asked >= maxAskingPerAddress) return "busy";
    this.#askingFor.set(from, asked + 1);
    // Several requests may wait for it: it is no part of the one that was first.
    const started = runOutsideContext(() => this.#ask(token, key)).finally(() => {
      this.#asking.delete(key);
      const left = (this.#askingFor.get(from) ?? 1) - 1;
      if (left > 0) this.#askingFor.set(from, left);
      else this.#askingFor.delete(from);
    });
    this.#asking.set(key, started);
    return started;
  }

  async #ask(token: string, key: string): Promise<Told> {
    const { client, clock, config } = this.#options;
    const { audience, timeoutMs, cacheMs } = config;
    const answer = await client.introspect({ token, audience }, { timeoutMs });
    const nowMs = clock.now();
    const told = callerOf(answer, nowMs);
    const untilMs = answer.active ? Math.min(nowMs + cacheMs, answer.expiresAt.getTime()) : nowMs + cacheMs;
    if (untilMs > nowMs) this.#known.set(key, { usableUntilMs: untilMs, keyVersion: 0, told });
    return told;
  }
}

/** A refresh token opens no door but that of its issuer. */
function callerOf(answer: Answer, nowMs: number): Told {
  if (!answer.active || answer.kind === "refresh" || answer.expiresAt.getTime() <= nowMs) return undefined;
  const { issuer, subject, scopes } = answer;
  const identity = { issuer, subject, scopes };
  return {
    identity,
    headers: toIdentityHeaders(identity),
    unusable: undefined,
    limitKey: JSON.stringify([issuer, subject]),
    scopes,
    roles: [],
    claims: {},
  };
}
