import {
  type Clock,
  ConfigError,
  type ErrorBus,
  type Logger,
  type Metrics,
  readConfigFile,
  watchFiles,
} from "@plinth/kernel";
import type { SharedTexts } from "@plinth/resilience";
import { type Revocation, Revocations } from "@plinth/transport/jwt";
import { z } from "zod";
import { type Places, schemaFaults } from "../config/faults.ts";
import { GatewayConfigError } from "../errors.ts";
import { SharedRevocations } from "./shared-revocations.ts";

const text = z.string().min(1).max(1_024);
const time = z.iso.datetime({ offset: true, error: "expected a time such as 2026-01-31T12:00:00Z" });

const fileSchema = z.strictObject({
  revocations: z.array(
    z
      .strictObject({
        jti: text.optional(),
        subject: text.optional(),
        issuer: text.optional(),
        issuedBefore: time.optional(),
        until: time.optional(),
      })
      .refine(({ jti, subject, issuedBefore }) => (jti ?? subject ?? issuedBefore) !== undefined, {
        message: "expected one of jti, subject and issuedBefore; without any of them every token would be revoked",
      }),
  ),
});

export interface HeldRevocationsOptions {
  /** Absent: there are only those that are added by code. */
  readonly file: string | undefined;
  readonly clock: Clock;
  readonly log: Logger | undefined;
  readonly errors: ErrorBus;
  readonly metrics: Metrics;
  /** Where they are held. Default: here alone. */
  readonly revocations?: Revocations | undefined;
  /** What other gateways share them by. Default: they do not. */
  readonly store?: SharedTexts | undefined;
  /** How often it is asked, in milliseconds. */
  readonly pollMs: number;
}

/**
 * Holds the revocations of a gateway, and keeps them to a file, whole or not at all, and to those of other gateways. A fault is told, and
 * what was stays.
 */
export class HeldRevocations {
  readonly #options: HeldRevocationsOptions;
  readonly #closing = new AbortController();
  readonly #reloads;
  readonly revocations: Revocations;
  readonly shared: SharedRevocations | undefined;

  /** @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` when the file cannot be used: nobody is let in whom it might refuse. */
  constructor(options: HeldRevocationsOptions) {
    this.#options = options;
    this.#reloads = options.metrics.counter({
      name: "gateway_revocation_reloads_total",
      help: "Times that the file of revocations was read anew.",
      labels: ["outcome"],
    });
    this.revocations = options.revocations ?? new Revocations({ clock: options.clock });
    if (options.file !== undefined) this.revocations.replaceFile(readRevocations(options.file));
    const { store } = options;
    this.shared = store && new SharedRevocations({ ...options, store, revocations: this.revocations });
    options.metrics.gauge({
      name: "gateway_revocations",
      help: "Revocations of tokens that are held.",
      aggregate: "max",
      collect: (gauge) => gauge.set({}, this.revocations.size),
    });
  }

  start(): void {
    this.shared?.start();
    const { file, clock } = this.#options;
    if (file === undefined) return;
    watchFiles([file], { clock, onChange: () => this.#reload(file), signal: this.#closing.signal });
    this.#reload(file); // it may have changed since it was first read
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the gateway reads its revocations no more"));
    await this.shared?.close();
  }

  #reload(file: string): void {
    const { errors, log } = this.#options;
    try {
      this.revocations.replaceFile(readRevocations(file));
      this.#reloads.inc({ outcome: "changed" });
      log?.info("revocations applied", { file, count: this.revocations.size });
    } catch (error) {
      this.#reloads.inc({ outcome: "refused" });
      errors.report(error, { origin: "lifecycle", attributes: { file } });
    }
  }
}

function readRevocations(file: string): Revocation[] {
  const { data, places } = read(file);
  const given: Places = { name: file, places };
  const result = fileSchema.safeParse(data);
  if (!result.success) throw new GatewayConfigError(schemaFaults(result.error, data, fileSchema, given));
  return result.data.revocations.map(({ jti, subject, issuer, issuedBefore, until }) => ({
    jti,
    subject,
    issuer,
    issuedBeforeMs: issuedBefore === undefined ? undefined : Date.parse(issuedBefore),
    untilMs: until === undefined ? undefined : Date.parse(until),
  }));
}

function read(file: string): ReturnType<typeof readConfigFile> {
  try {
    return readConfigFile(file, { namedBy: "gateway.revocations" });
  } catch (error) {
    if (error instanceof ConfigError) throw new GatewayConfigError(error.faults, error);
    throw error;
  }
}
