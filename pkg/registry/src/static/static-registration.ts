import { closedError } from "../errors.ts";
import { changedInstance } from "../instance.ts";
import type { Instance, InstanceChanges, Registration, RegistrationState } from "../registry.ts";

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A registration that nobody is told of: whoever writes the list decides who is found. */
export class StaticRegistration implements Registration {
  readonly error = undefined;
  readonly #onLeave: () => void;
  #instance: Instance;
  #state: RegistrationState = "registered";
  #maintenance: string | undefined;

  constructor(instance: Instance, onLeave: () => void) {
    this.#instance = instance;
    this.#onLeave = onLeave;
  }

  get instance(): Instance {
    return this.#instance;
  }

  get state(): RegistrationState {
    return this.#state;
  }

  get maintenanceReason(): string | undefined {
    return this.#maintenance;
  }

  async update(changes: InstanceChanges, { signal }: CallOptions = {}): Promise<void> {
    this.#requireRegistered(signal);
    this.#instance = changedInstance(this.#instance, changes);
  }

  async maintenance(reason: string | undefined, { signal }: CallOptions = {}): Promise<void> {
    this.#requireRegistered(signal);
    this.#maintenance = reason;
  }

  async deregister(): Promise<void> {
    if (this.#state === "left") return;
    this.#state = "left";
    this.#onLeave();
  }

  #requireRegistered(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (this.#state === "left") throw closedError(`the registration of ${this.#instance.id}`);
  }
}
