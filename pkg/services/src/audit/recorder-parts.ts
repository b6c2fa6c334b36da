// What the recorder says to those who wait for it, and what it makes of what they say.
import { randomUUID } from "node:crypto";
import { type AppError, currentContext } from "@plinth/kernel";
import { compact } from "../convert.ts";
import { eventId } from "../ids.ts";
import { AuditError } from "./errors.ts";
import type { AuditLoss, AuditRecorderOptions, NewAuditEvent } from "./recorder-options.ts";
import type { AuditEvent } from "./types.ts";

/**
 * The whole event, with what the current context knows. A copy: what its maker changes later is not in it.
 * @throws what is wrong with it.
 */
export function toEvent(given: NewAuditEvent, options: AuditRecorderOptions, nowMs: number): AuditEvent {
  const { newEventId = randomUUID } = options;
  const context = currentContext();
  const ids = compact({ requestId: context?.requestId, traceId: context?.span?.traceId });
  return compact({
    ...given,
    eventId: given.eventId ?? eventId(newEventId()),
    occurredAt: new Date(given.occurredAt ?? nowMs),
    source: compact({ ...ids, ...options.source, ...given.source }),
    attributes: { ...given.attributes },
  });
}

/** Whether sending it again would be answered the same. */
export function isRefusal({ status, code }: AppError): boolean {
  const final = ["invalid_argument", "out_of_range", "already_exists"];
  return code === "ERR_RPC_REQUEST" || final.includes(status);
}

export function refusal(why: string, cause?: unknown): AuditError {
  return new AuditError("ERR_AUDIT_LOST", "failed_precondition", `Audit refused the event: ${why}`, { cause });
}

export function noEvent(cause: unknown): AuditError {
  return new AuditError("ERR_AUDIT_LOST", "invalid_argument", "what was to be recorded is no event", { cause });
}

export function lost(reason: AuditLoss): AuditError {
  return new AuditError("ERR_AUDIT_LOST", "unavailable", `the event was lost: ${reason}`, { metadata: { reason } });
}

export function full(): AuditError {
  return new AuditError("ERR_AUDIT_RECORDER_FULL", "unavailable", "too many events wait for Audit already; try later");
}

export function closed(): AuditError {
  return new AuditError("ERR_AUDIT_RECORDER_CLOSED", "unavailable", "the audit recorder has been closed");
}

export function unconfirmed(ms: number): AuditError {
  const text = `Audit has not confirmed the event within ${ms} ms; it may still be kept`;
  return new AuditError("ERR_AUDIT_UNCONFIRMED", "deadline_exceeded", text);
}

/** Resolves when the signal aborts; never without one. */
export function aborted(signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal?.aborted) resolve();
  signal?.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}
