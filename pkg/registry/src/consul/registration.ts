import { AppError, backoffDelayMs, type Clock, sleep } from "@plinth/kernel";
import { abortable } from "../abortable.ts";
import { closedError, RegistryError } from "../errors.ts";
import { changedInstance } from "../instance.ts";
import { askReadiness } from "../readiness.ts";
import type {
  Instance,
  InstanceChanges,
  Readiness,
  RegisterOptions,
  Registration,
  RegistrationState,
  RegistryListener,
} from "../registry.ts";
import type { CheckDefinition, ConsulClient } from "./client.ts";
import { toServiceDefinition } from "./entry.ts";
import { AnsweredUnavailable } from "./http.ts";

export interface KeptRegistrationOptions {
  readonly client: ConsulClient;
  readonly clock: Clock;
  readonly random: () => number;
  readonly onEvent: RegistryListener;
  readonly ttlMs: number;
  readonly deregisterAfterMs: number;
  readonly requestTimeoutMs: number;
  /** The check that the agent makes itself, if any. */
  readonly probe: CheckDefinition | undefined;
  readonly readiness: NonNullable<RegisterOptions["readiness"]>;
}

/** So many that a stall of the event loop as long as liveness allows, ten seconds, and a beat before it fit into the default TTL. */
const beatsPerTtl = 4;
const firstRetryMs = 100;
const readinessTexts = { passing: "ready", warning: "degraded", critical: "not ready" } as const;

/**
 * One instance in the local agent, kept there: heartbeats while the agent knows it, registered again when it does not.
 *
 * Two TTL checks, since they mean two things. `alive` ends with the process, and Consul removes the entry some time later.
 * `ready` says whether it should get traffic: an app may be unready for an hour without losing its entry.
 */
export class KeptRegistration implements Registration {
  readonly #options: KeptRegistrationOptions;
  readonly #leaving = new AbortController();
  readonly #firstTry = Promise.withResolvers<void>();
  #instance: Instance;
  #maintenance: string | undefined;
  #state: RegistrationState = "pending";
  #error: AppError | undefined;
  #loop: Promise<void> = Promise.resolve();
  #left: Promise<void> | undefined;
  /** Whether the agent may have it: a registration was sent that was not refused for good. */
  #maybeThere = false;

  constructor(instance: Instance, options: KeptRegistrationOptions) {
    this.#instance = instance;
    this.#options = options;
  }

  get instance(): Instance {
    return this.#instance;
  }

  get maintenanceReason(): string | undefined {
    return this.#maintenance;
  }

  get state(): RegistrationState {
    return this.#state;
  }

  get error(): AppError | undefined {
    return this.#error;
  }

  /**
   * Begins to keep it; resolves after the first try, whether that worked or is worth trying again.
   * @throws {@link RegistryError} `ERR_REGISTRY_REJECTED` when it never will.
   */
  start(): Promise<void> {
    this.#loop = this.#keep();
    return this.#firstTry.promise;
  }

  async update(
    changes: InstanceChanges,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    if (this.#left) throw closedError(`the registration of ${this.instance.id}`);
    this.#instance = changedInstance(this.#instance, changes);
    await abortable(this.#register(), signal);
  }

  async maintenance(
    reason: string | undefined,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    if (this.#left) throw closedError(`the registration of ${this.instance.id}`);
    this.#maintenance = reason;
    await abortable(this.#beat(), signal);
  }

  deregister({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#left ??= this.#leave();
    return abortable(this.#left, signal);
  }

  async #keep(): Promise<void> {
    const { clock, random, ttlMs } = this.#options;
    const { signal } = this.#leaving;
    const heartbeatMs = ttlMs / beatsPerTtl;
    let failures = 0;
    while (!signal.aborted) {
      let delayMs = heartbeatMs * (0.9 + 0.2 * random());
      try {
        if (this.#state === "registered") await this.#beat();
        else await this.#register();
        failures = 0;
        this.#become("registered");
        this.#firstTry.resolve();
      } catch (thrown) {
        if (signal.aborted) return;
        const error = AppError.from(thrown);
        const wasRegistered = this.#state === "registered";
        this.#fail(error, ++failures);
        if (this.#state === "left") return;
        // An agent that does not know it is told at once: heartbeats are spread out already. Else wait, no longer than a beat.
        if (wasRegistered && isAnswer(error)) delayMs = 0;
        else delayMs = backoffDelayMs(failures, { baseDelayMs: firstRetryMs, maxDelayMs: heartbeatMs, random });
      }
      await sleep(clock, delayMs, { signal }).catch(() => undefined); // woken to leave
    }
  }

  async #register(): Promise<void> {
    const definition = toServiceDefinition(this.instance, await this.#checks());
    this.#maybeThere = true;
    // Not cut short by leaving: whether it arrived must be known before the entry is taken out.
    await this.#options.client.registerService(definition);
    await this.#beat(); // checks that were there before have kept their old status
  }

  async #beat(): Promise<void> {
    const { client } = this.#options;
    const { signal } = this.#leaving;
    await client.updateCheck(this.#checkId("alive"), "passing", "heartbeats arrive", { signal });
    const status = await this.#askReady();
    // The texts are fixed: a changed one would be written through the whole cluster and wake all watches.
    await client.updateCheck(this.#checkId("ready"), status, readinessTexts[status], { signal });
  }

  async #checks(): Promise<CheckDefinition[]> {
    const { ttlMs, deregisterAfterMs, probe } = this.#options;
    const readiness = await this.#askReady();
    return [
      {
        CheckID: this.#checkId("alive"),
        Name: "heartbeat of the process",
        TTL: `${ttlMs}ms`,
        Status: "passing",
        DeregisterCriticalServiceAfter: `${deregisterAfterMs}ms`,
      },
      {
        CheckID: this.#checkId("ready"),
        Name: "readiness as the process says",
        TTL: `${ttlMs}ms`,
        Status: readiness,
      },
      ...(probe ? [{ ...probe, CheckID: this.#checkId("probe") }] : []),
    ];
  }

  async #askReady(): Promise<Readiness> {
    const { readiness, clock, requestTimeoutMs } = this.#options;
    if (this.#maintenance !== undefined) return "critical";
    return abortable(askReadiness(readiness, { clock, limitMs: requestTimeoutMs }), this.#leaving.signal);
  }

  #fail(error: AppError, failures: number): void {
    this.#error = error;
    this.#options.onEvent({ type: "registration_failed", registration: this, error, failures });
    if (this.#state === "pending" && error.code === "ERR_REGISTRY_REJECTED") {
      this.#maybeThere = false;
      this.#become("left", error);
      this.#firstTry.reject(error);
      return;
    }
    if (this.#state === "registered") this.#become("lost", error);
    this.#firstTry.resolve();
  }

  /** Ends the heartbeats, waits for a registration in flight, which could else come after, and takes it out. */
  async #leave(): Promise<void> {
    this.#leaving.abort(new Error("the instance is being deregistered"));
    await this.#loop;
    this.#firstTry.resolve();
    if (this.#state === "left") return;
    const wasAccepted = this.#state !== "pending";
    try {
      if (this.#maybeThere) await this.#options.client.deregisterService(this.instance.id);
    } catch (error) {
      const failure = AppError.from(error);
      this.#options.onEvent({ type: "deregistration_failed", registration: this, error: failure });
      this.#become("left", failure);
      if (wasAccepted) throw failure; // one that was never accepted is most likely not there
      return;
    }
    this.#become("left");
  }

  #become(state: RegistrationState, error?: AppError): void {
    const previous = this.#state;
    this.#error = error;
    if (state === previous) return;
    this.#state = state;
    this.#options.onEvent({ type: "registration", registration: this, state, previous });
  }

  #checkId(what: "alive" | "ready" | "probe"): string {
    return `${this.instance.id}:${what}`;
  }
}

/** True when the agent itself said no, so that it is there and can be asked at once. */
function isAnswer(error: AppError): boolean {
  return (
    error instanceof AnsweredUnavailable ||
    (error instanceof RegistryError &&
      (error.code === "ERR_REGISTRY_NOT_FOUND" || error.code === "ERR_REGISTRY_REJECTED"))
  );
}
