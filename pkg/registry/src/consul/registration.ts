import { AppError, type Clock } from "@plinth/kernel";
import { abortable } from "../abortable.ts";
import { goneError } from "../errors.ts";
import { changedInstance, sameInstance } from "../instance.ts";
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
import { untilBeatMs, untilTryMs } from "./beats.ts";
import type { ConsulClient } from "./client.ts";
import { toServiceDefinition } from "./entry.ts";
import {
  aliveText,
  maintenanceText,
  ownCheckId,
  type OwnCheckOptions,
  ownChecks,
  readinessTexts,
} from "./own-checks.ts";
import { requireOwn } from "./own-entry.ts";
import { Pause } from "./pause.ts";
import { isAnswer, isRefusal, RefusedChange } from "./refusals.ts";

export interface KeptRegistrationOptions extends OwnCheckOptions {
  readonly client: ConsulClient;
  readonly clock: Clock;
  readonly random: () => number;
  readonly onEvent: RegistryListener;
  readonly requestTimeoutMs: number;
  readonly readiness: NonNullable<RegisterOptions["readiness"]>;
  readonly onReadiness: RegisterOptions["onReadiness"];
}

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** So long after a round the next one may come for a changed readiness: twice a second, however it flaps. */
const soonMs = 500;

/**
 * One instance in the local agent, kept there: heartbeats while the agent has it as it was registered, registered again when not.
 *
 * Everything that is asked of the agent is asked by one loop, one request at a time: each round looks at what the agent has, makes it
 * what it should be, and sends the heartbeat. A round comes with each heartbeat, at once when there is something new to tell, and soon
 * when how it does has changed.
 */
export class KeptRegistration implements Registration {
  readonly #options: KeptRegistrationOptions;
  readonly #leaving = new AbortController();
  readonly #firstTry = Promise.withResolvers<void>();
  #state: RegistrationState = "pending";
  #error: AppError | undefined;
  #loop: Promise<void> = Promise.resolve();
  #left: Promise<void> | undefined;
  readonly #pause: Pause;
  /** Told how the next round goes. */
  #asking: PromiseWithResolvers<void>[] = [];
  /** As it should be. */
  #instance: Instance;
  /** As the agent last took it. */
  #accepted: Instance | undefined;
  /** The agent has it, as far as is known; else it must be given anew. */
  #isThere = false;
  /** What stands under our id, its checks too, may be another's. */
  #mayBeForeign = true;
  #maintenance: string | undefined;
  /** The agent has to be told of it. */
  #isMaintenanceDue = false;
  #toldMaintenance: string | undefined;
  /** So many times in a row another's entry was found under our id: it is put right each time, and comes back. */
  #overwrites = 0;
  #readiness: Readiness | undefined;
  /** Whether the agent may have it: a registration was sent that was not refused for good. */
  #maybeThere = false;

  constructor(instance: Instance, options: KeptRegistrationOptions) {
    this.#instance = instance;
    this.#options = options;
    this.#pause = new Pause(options.clock, soonMs);
  }

  get instance(): Instance {
    return this.#instance;
  }

  get state(): RegistrationState {
    return this.#state;
  }

  get error(): AppError | undefined {
    return this.#error;
  }

  get maintenanceReason(): string | undefined {
    return this.#maintenance;
  }

  /**
   * Begins to keep it; resolves after the first try, whether that worked or is worth trying again.
   * @throws {@link RegistryError} `ERR_REGISTRY_REJECTED` when it never will.
   */
  start(): Promise<void> {
    const stopListening = this.#options.onReadiness?.(() => this.#hurry());
    this.#loop = this.#keep().finally(stopListening);
    return this.#firstTry.promise;
  }

  async update(changes: InstanceChanges, { signal }: CallOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    this.#requireHere();
    const changed = changedInstance(this.#instance, changes);
    if (sameInstance(changed, this.#instance)) return;
    this.#instance = changed;
    await abortable(this.#nextRound(), signal);
  }

  async maintenance(reason: string | undefined, { signal }: CallOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    this.#requireHere();
    this.#maintenance = reason;
    this.#isMaintenanceDue = true;
    await abortable(this.#nextRound(), signal);
  }

  deregister({ signal }: CallOptions = {}): Promise<void> {
    this.#left ??= this.#leave();
    return abortable(this.#left, signal);
  }

  async #keep(): Promise<void> {
    const { signal } = this.#leaving;
    let failures = 0;
    while (!signal.aborted) {
      this.#pause.settle();
      const asking = this.#asking.splice(0);
      const wasThere = this.#isThere;
      let delayMs = untilBeatMs(this.#options);
      try {
        await this.#round();
        failures = 0;
        this.#become("registered");
        this.#firstTry.resolve();
        for (const { resolve } of asking) resolve();
      } catch (thrown) {
        if (signal.aborted) {
          this.#asking.unshift(...asking);
          break;
        }
        if (thrown instanceof RefusedChange) {
          for (const { reject } of [...asking, ...this.#asking.splice(0)]) reject(thrown.error);
          continue; // what was there before is there still, and waits for its heartbeat
        }
        delayMs = this.#failed(AppError.from(thrown), ++failures, wasThere);
        for (const { resolve } of asking) resolve();
        if (this.#state === "left") break;
      }
      await this.#pause.wait(delayMs, () => this.#asking.length > 0 || signal.aborted);
    }
    for (const { reject } of this.#asking.splice(0)) reject(goneError(this.#instance));
  }

  async #round(): Promise<void> {
    if (!this.#isThere) await this.#change(() => this.#register("register"));
    else if (this.#accepted === this.#instance) await this.#compare(this.#accepted);
    else await this.#change(() => this.#register("update"));
    if (this.#isMaintenanceDue) await this.#change(() => this.#tellMaintenance());
    await this.#beat();
  }

  async #register(operation: "register" | "update"): Promise<void> {
    const instance = this.#instance;
    const readiness = await this.#askReadiness();
    const definition = toServiceDefinition(instance, ownChecks(instance.id, readiness, this.#options));
    this.#maybeThere = true;
    // Not cut short by leaving: whether it arrived must be known before the entry is taken out.
    // Checks of others stay where it is ours: by one of them an operator may have put it into maintenance.
    await this.#options.client.registerService(definition, { operation, keepChecks: !this.#mayBeForeign });
    if (operation === "register" && this.#maintenance !== undefined) this.#isMaintenanceDue = true; // it may have been forgotten
    this.#mayBeForeign = false;
    this.#isThere = true;
    this.#accepted = instance;
    if (operation === "update") this.#options.onEvent({ type: "registration_updated", registration: this });
  }

  /** Whether the agent still has what was registered. */
  async #compare(instance: Instance): Promise<void> {
    const found = await this.#options.client.readService(instance.id, { signal: this.#leaving.signal });
    requireOwn(toServiceDefinition(instance, []), found);
    this.#overwrites = 0;
  }

  async #tellMaintenance(): Promise<void> {
    const { client, onEvent } = this.#options;
    const { signal } = this.#leaving;
    const reason = this.#maintenance;
    const { id } = this.instance;
    const told = this.#toldMaintenance; // which would keep its reason
    if (told !== undefined && reason !== undefined && told !== reason)
      await client.setMaintenance(id, undefined, { signal });
    await client.setMaintenance(id, reason, { signal });
    this.#toldMaintenance = reason;
    if (this.#maintenance === reason) this.#isMaintenanceDue = false;
    onEvent({ type: "maintenance", registration: this, reason });
  }

  /** @throws {@link RefusedChange} when the agent will never take it: it is then as it was. */
  async #change(send: () => Promise<void>): Promise<void> {
    try {
      await send();
    } catch (error) {
      if (!isRefusal(error) || this.#accepted === undefined) throw error;
      if (this.#accepted !== this.#instance) this.#instance = this.#accepted;
      else if (this.#isMaintenanceDue) {
        this.#maintenance = this.#toldMaintenance;
        this.#isMaintenanceDue = false;
      } else throw error;
      throw new RefusedChange(error);
    }
  }

  async #beat(): Promise<void> {
    const { client, onEvent } = this.#options;
    const { signal } = this.#leaving;
    const { id } = this.instance;
    await client.updateCheck(ownCheckId(id, "alive"), "passing", aliveText, { signal });
    const readiness = await this.#askReadiness();
    const text = this.#maintenance === undefined ? readinessTexts[readiness] : maintenanceText;
    await client.updateCheck(ownCheckId(id, "ready"), readiness, text, { signal });
    const previous = this.#readiness;
    this.#readiness = readiness;
    if (previous !== undefined && previous !== readiness)
      onEvent({ type: "readiness", registration: this, readiness, previous });
  }

  /** In maintenance it is critical by itself too: for the time in which the agent's own check for that is put in place or away. */
  async #askReadiness(): Promise<Readiness> {
    const { readiness, clock, requestTimeoutMs } = this.#options;
    if (this.#maintenance !== undefined) return "critical";
    return abortable(askReadiness(readiness, { clock, limitMs: requestTimeoutMs }), this.#leaving.signal);
  }

  /** @returns Milliseconds to wait before the next try. */
  #failed(error: AppError, failures: number, wasThere: boolean): number {
    const { onEvent } = this.#options;
    const isOverwritten = error.code === "ERR_REGISTRY_OVERWRITTEN";
    this.#error = error;
    const count = isOverwritten ? ++this.#overwrites : failures;
    onEvent({ type: "registration_failed", registration: this, error, failures: count });
    if (this.#accepted === undefined && isRefusal(error)) {
      this.#maybeThere = false;
      this.#become("left", error);
      this.#firstTry.reject(error);
      return 0;
    }
    if (this.#state === "registered") this.#become("lost", error);
    this.#firstTry.resolve();
    if (error.code === "ERR_REGISTRY_DENIED") return untilBeatMs(this.#options); // asking again soon does not help
    if (isOverwritten) this.#mayBeForeign = true;
    if (isAnswer(error)) {
      this.#isThere = false;
      // An agent that does not know it is told at once: heartbeats are spread out already. Not twice in a row, since it may go on like that.
      if (wasThere) return 0;
    }
    return untilTryMs(failures, this.#options);
  }

  /** Resolves when a round has gone through, or has failed in a way that is worth trying again. */
  #nextRound(): Promise<void> {
    const round = Promise.withResolvers<void>();
    this.#asking.push(round);
    this.#pause.wake();
    return round.promise;
  }

  /** While tries fail, the next one tells it. */
  #hurry(): void {
    if (this.#error === undefined) this.#pause.hurry();
  }

  /** Ends the heartbeats, waits for a registration in flight, which could else come after, and takes it out. */
  async #leave(): Promise<void> {
    this.#leaving.abort(new Error("the instance is being deregistered"));
    this.#pause.wake();
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

  #requireHere(): void {
    if (this.#left !== undefined || this.#state === "left") throw goneError(this.#instance);
  }
}
