import type { Dispatcher } from "undici";

type Controller = Dispatcher.DispatchController;

/** The controller that whoever sent the request has, over that of the try which is under way. */
export class SteadyController implements Controller {
  inner: Controller | undefined;
  #reason: Error | null = null;

  get aborted(): boolean {
    return this.#reason !== null;
  }

  get reason(): Error | null {
    return this.#reason;
  }

  get paused(): boolean {
    return this.inner?.paused ?? false;
  }

  get rawHeaders(): NonNullable<Controller["rawHeaders"]> | null {
    return this.inner?.rawHeaders ?? null;
  }

  get rawTrailers(): NonNullable<Controller["rawTrailers"]> | null {
    return this.inner?.rawTrailers ?? null;
  }

  abort(reason: Error): void {
    this.#reason ??= reason;
    this.inner?.abort(reason);
  }

  pause(): void {
    this.inner?.pause();
  }

  resume(): void {
    this.inner?.resume();
  }
}
