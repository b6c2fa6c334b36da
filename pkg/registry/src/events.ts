import type { AppError } from "@plinth/kernel";
import type { InstanceSet, Readiness, Registration, RegistrationState } from "./registry.ts";

/** What happened inside a registry, for logs and metrics. */
export type RegistryEvent =
  | {
      readonly type: "registration";
      readonly registration: Registration;
      readonly state: RegistrationState;
      readonly previous: RegistrationState;
    }
  | {
      readonly type: "registration_failed";
      readonly registration: Registration;
      readonly error: AppError;
      /** Failures in a row, 1 or more. */
      readonly failures: number;
    }
  | { readonly type: "deregistration_failed"; readonly registration: Registration; readonly error: AppError }
  /** What {@link Registration.update} changed is accepted. */
  | { readonly type: "registration_updated"; readonly registration: Registration }
  /** The registry was told to take it out of traffic, for `reason`, or back into it. */
  | { readonly type: "maintenance"; readonly registration: Registration; readonly reason: string | undefined }
  /** How the instance does has changed, and the registry was told. */
  | {
      readonly type: "readiness";
      readonly registration: Registration;
      readonly readiness: Readiness;
      readonly previous: Readiness;
    }
  | { readonly type: "changed"; readonly set: InstanceSet }
  | { readonly type: "watch_failed"; readonly service: string; readonly error: AppError; readonly failures: number }
  | { readonly type: "watch_recovered"; readonly service: string; readonly failedForMs: number }
  | { readonly type: "watch_reset"; readonly service: string; readonly index: number; readonly previous: number }
  /** The server's answers are older than the limit, or it knows no leader, so the set is kept as it is: told at the first of a row. */
  | { readonly type: "stale_answers"; readonly service: string; readonly error: AppError }
  /** They are as new again as they have to be. */
  | { readonly type: "fresh_answers"; readonly service: string; readonly staleForMs: number }
  /** One more answer that was too old. */
  | { readonly type: "stale_answer"; readonly service: string; readonly lastContactMs: number }
  /** All instances are gone at once: told at the first such answer, and applied only when another confirms it. */
  | { readonly type: "empty_answer"; readonly service: string; readonly known: number }
  /** A service begins with what the snapshot on disk has of it, `ageMs` old. */
  | { readonly type: "snapshot_served"; readonly service: string; readonly instances: number; readonly ageMs: number }
  /** The snapshot on disk cannot be used, all of it or what it has of one service. */
  | {
      readonly type: "snapshot_ignored";
      readonly file: string;
      readonly problem: string;
      readonly service: string | undefined;
    }
  | { readonly type: "snapshot_written"; readonly file: string; readonly services: number; readonly bytes: number }
  | { readonly type: "snapshot_failed"; readonly file: string; readonly error: AppError; readonly failures: number }
  /** Entries that made no sense, each told once as long as it stays. */
  | { readonly type: "entries_skipped"; readonly service: string; readonly skipped: readonly SkippedEntry[] }
  | { readonly type: "request_begun"; readonly operation: RegistryOperation }
  | {
      readonly type: "request_ended";
      readonly operation: RegistryOperation;
      readonly outcome: RequestOutcome;
      readonly tookMs: number;
    };

/**
 * What a registry, or a client of Consul, asks its server for. `watch` is held by the server while nothing changes; `inspect` reads what
 * the server has under the id of an instance registered here, `agent` what it says of itself.
 */
export type RegistryOperation =
  | "register"
  | "update"
  | "maintenance"
  | "deregister"
  | "heartbeat"
  | "inspect"
  | "instances"
  | "services"
  | "agent"
  | "leader"
  | "kv"
  | "watch";

/**
 * How a request ended. The server said no: `denied`, `not_found`, `rejected`; or that it cannot: `unavailable`. There was no answer:
 * `unreachable`, `timeout`, `cancelled`; or none that can be read: `unreadable`.
 */
export type RequestOutcome =
  | "ok"
  | "denied"
  | "not_found"
  | "rejected"
  | "unavailable"
  | "unreachable"
  | "timeout"
  | "cancelled"
  | "unreadable";

export interface SkippedEntry {
  readonly id: string;
  readonly problem: string;
}

/** Told of each event, synchronously. One that throws ends nothing: it is a warning of the process. */
export type RegistryListener = (event: RegistryEvent) => void;
