import type { Clock, Scheduled } from "@plinth/kernel";
import type { HealthConfig } from "../config/schema-health.ts";
import type { Upstream, UpstreamCall, UpstreamHandlers } from "./upstream.ts";

/** An instance as it is probed. */
export interface Probed {
  /** Changes with the address. */
  readonly id: string;
  readonly authority: string;
  /** What requests to it carry in `plinth-instance`. */
  readonly identity: string | undefined;
}

export interface HealthChecksOptions {
  readonly config: HealthConfig;
  readonly clock: Clock;
  /** Source of jitter in [0, 1). Default `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** A client for probes alone, so that one that hangs takes no connection from requests. */
  readonly connect: (authority: string) => Upstream;
  /** How a probe ended, and what the instance is for it: at `well` it has passed as often in a row as asked, at `out` failed. */
  readonly onProbed: (id: string, passed: boolean, state: "well" | "out" | "between") => void;
}

/** Intervals are so much longer or shorter by chance: instances, and gateways, do not probe in step. */
const jitterRatio = 0.1;
/** Of a reply's body no more is read. */
const maxBodyBytes = 65_536;

/** Asks each instance from time to time how it is: at most one probe of each at a time, no redirect followed. */
export class HealthChecks {
  readonly #options: HealthChecksOptions;
  readonly #probes = new Map<string, Probe>();
  #isClosed = false;

  constructor(options: HealthChecksOptions) {
    this.#options = options;
  }

  /** Ids of those that are out. */
  get out(): string[] {
    return [...this.#probes].flatMap(([id, probe]) => (probe.isOut ? [id] : []));
  }

  /**
   * Those to be asked from now on. A probe under way of one that has left is broken off, and says nothing. Without effect after `close`.
   * @param areOut - Ids that are known to be out, for those that are new.
   */
  watch(instances: readonly Probed[], areOut: ReadonlySet<string> = new Set()): void {
    if (this.#isClosed) return;
    const left = new Map(this.#probes);
    for (const instance of instances) {
      if (left.delete(instance.id) || this.#probes.has(instance.id)) continue;
      this.#probes.set(instance.id, new Probe(instance, this.#options, areOut.has(instance.id)));
    }
    for (const [id, probe] of left) {
      this.#probes.delete(id);
      probe.close();
    }
  }

  /** Safe to call twice. */
  close(): void {
    this.watch([]);
    this.#isClosed = true;
  }
}

/** The probes of one instance, one after the other. */
class Probe implements UpstreamHandlers {
  readonly #instance: Probed;
  readonly #options: HealthChecksOptions;
  readonly #upstream: Upstream;
  isOut: boolean;
  /** In a row. */
  #passes = 0;
  #failures = 0;
  #bodyBytes = 0;
  #call: UpstreamCall | undefined;
  /** Until the next one, or for the one under way. */
  #timer: Scheduled;
  #isAsking = false;

  constructor(instance: Probed, options: HealthChecksOptions, isOut: boolean) {
    const { random = Math.random, config } = options;
    this.#instance = instance;
    this.#options = options;
    this.isOut = isOut;
    this.#upstream = options.connect(instance.authority);
    this.#timer = this.#in(random() * config.intervalMs, () => this.#ask());
  }

  close(): void {
    this.#timer.cancel();
    this.#isAsking = false;
    this.#drop();
    this.#upstream.destroy();
  }

  onHead(status: number): void {
    const { expectStatus } = this.#options.config;
    this.#judge(expectStatus ? expectStatus.includes(status) : status >= 200 && status <= 299);
  }

  onUpgrade(): void {
    this.#judge(false); // it was not asked for
  }

  onData(chunk: Buffer): boolean {
    this.#bodyBytes += chunk.length;
    if (this.#bodyBytes > maxBodyBytes) this.#drop();
    return true;
  }

  onEnd(): void {
    this.#call = undefined;
  }

  onFailure(): void {
    this.#call = undefined;
    this.#judge(false);
  }

  #ask(): void {
    const { path, host, timeoutMs } = this.#options.config;
    const { authority, identity } = this.#instance;
    this.#drop(); // a body that has trickled until now
    this.#isAsking = true;
    this.#bodyBytes = 0;
    const headers = ["host", host ?? authority, "user-agent", "plinth-gateway-health", "accept", "*/*"];
    if (identity !== undefined) headers.push("plinth-instance", identity);
    this.#timer = this.#in(timeoutMs, () => {
      this.#drop();
      this.#judge(false);
    });
    this.#call = this.#upstream.send({ method: "GET", target: path, headers, body: null }, this);
  }

  #judge(passed: boolean): void {
    if (!this.#isAsking) return; // what comes behind the head
    this.#isAsking = false;
    this.#timer.cancel();
    const { config, random = Math.random, onProbed } = this.#options;
    this.#passes = passed ? this.#passes + 1 : 0;
    this.#failures = passed ? 0 : this.#failures + 1;
    const isWell = this.#passes >= config.rise;
    if (isWell) this.isOut = false;
    else if (this.#failures >= config.fall) this.isOut = true;
    const intervalMs = this.isOut ? (config.unhealthyIntervalMs ?? config.intervalMs) : config.intervalMs;
    this.#timer = this.#in(intervalMs * (1 + (2 * random() - 1) * jitterRatio), () => this.#ask());
    onProbed(this.#instance.id, passed, isWell ? "well" : this.isOut ? "out" : "between");
  }

  #drop(): void {
    const call = this.#call;
    this.#call = undefined;
    call?.abort();
  }

  #in(ms: number, run: () => void): Scheduled {
    return this.#options.clock.schedule(ms, run, { keepAlive: false });
  }
}
