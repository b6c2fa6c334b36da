import {
  type AppError,
  durationBucketsSeconds,
  type ErrorBus,
  type HealthCheck,
  type Logger,
  type Metrics,
} from "@plinth/kernel";
import { RegistryError } from "./errors.ts";
import { noCounts } from "./states.ts";
import type { Registry, RegistryEvent, RegistryListener, RegistryOperation } from "./registry.ts";

export interface InstrumentationOptions {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly errors: ErrorBus;
}

/** A failure that goes on this long in tries is worth a report; one try more or less is everyday life. */
const reportedAtFailure = 3;
const maxLoggedEntries = 3;
/** Beyond the ten seconds of others: a watch is held for a minute unless told otherwise. */
const watchBucketsSeconds = [30, 60, 120, 300, 600];

/** Turns what happens in a registry into log lines, metrics and, for failures that last, one error report each. */
export function instrumentRegistry({ log, metrics, errors }: InstrumentationOptions): RegistryListener {
  const watchErrors = metrics.counter({
    name: "registry_watch_errors_total",
    help: "Tries to read the instances of a service that failed.",
    labels: ["service"],
  });
  const watchResets = metrics.counter({
    name: "registry_watch_resets_total",
    help: "Times that a watch began again because the registry's index went backwards.",
    labels: ["service"],
  });
  const staleAnswers = metrics.counter({
    name: "registry_stale_answers_total",
    help: "Answers not applied because the answering server knew no leader, or had not heard of it for too long.",
    labels: ["service"],
  });
  const emptyAnswers = metrics.counter({
    name: "registry_empty_answers_total",
    help: "Times that all instances of a service were gone at once, so that another answer had to confirm it.",
    labels: ["service"],
  });
  const snapshotWrites = metrics.counter({
    name: "registry_snapshot_writes_total",
    help: "Times that the snapshot on disk was written, or could not be.",
    labels: ["outcome"],
  });
  const skipped = metrics.counter({
    name: "registry_entries_skipped_total",
    help: "Entries left out because they made no sense.",
    labels: ["service"],
  });
  const changes = metrics.counter({
    name: "registry_changes_total",
    help: "Changes of the instances of a service.",
    labels: ["service"],
  });
  const registrationErrors = metrics.counter({
    name: "registry_registration_errors_total",
    help: "Registrations and heartbeats that failed.",
  });
  const requests = metrics.histogram({
    name: "registry_request_duration_seconds",
    help: "How long requests to the registry's server took; it holds a watch while nothing changes.",
    labels: ["operation", "outcome"],
    buckets: [...durationBucketsSeconds, ...watchBucketsSeconds],
  });
  const inFlight = new Map<RegistryOperation, number>();
  metrics.gauge({
    name: "registry_requests_in_flight",
    help: "Requests to the registry's server that have not ended.",
    labels: ["operation"],
    collect: (gauge) => inFlight.forEach((count, operation) => gauge.set({ operation }, count)),
  });
  const addInFlight = (operation: RegistryOperation, change: 1 | -1): void =>
    void inFlight.set(operation, (inFlight.get(operation) ?? 0) + change);
  const report = (error: AppError, attributes: Record<string, string | number>): void =>
    void errors.report(error, { origin: "timer", severity: "warning", attributes });

  return (event: RegistryEvent): void => {
    switch (event.type) {
      case "changed":
        changes.inc({ service: event.set.service });
        log.info("instances changed", {
          peer: event.set.service,
          instances: event.set.instances.length,
          revision: event.set.revision,
        });
        return;
      case "watch_failed":
        watchErrors.inc({ service: event.service });
        if (event.failures === 1) {
          log.warn("watch failing; the last known instances stay", { peer: event.service, error: event.error });
        }
        if (isReportedAt(event.failures, event.error)) {
          report(event.error, { peer: event.service, failures: event.failures });
        }
        return;
      case "watch_recovered":
        log.info("watch recovered", { peer: event.service, failedForMs: Math.round(event.failedForMs) });
        return;
      case "watch_reset":
        watchResets.inc({ service: event.service });
        return;
      case "stale_answers":
        log.warn("answers are too old; the last known instances stay", { peer: event.service, error: event.error });
        report(event.error, { peer: event.service });
        return;
      case "stale_answer":
        staleAnswers.inc({ service: event.service });
        return;
      case "fresh_answers":
        log.info("answers are fresh again", { peer: event.service, staleForMs: Math.round(event.staleForMs) });
        return;
      case "empty_answer":
        emptyAnswers.inc({ service: event.service });
        log.warn("all instances gone at once; they stay until another answer confirms it", {
          peer: event.service,
          instances: event.known,
        });
        return;
      case "snapshot_served":
        log.warn("beginning with the snapshot on disk until the registry answers", {
          peer: event.service,
          instances: event.instances,
          ageMs: Math.round(event.ageMs),
        });
        return;
      case "snapshot_ignored":
        log.warn("snapshot on disk not used", { file: event.file, peer: event.service, why: event.problem });
        return;
      case "snapshot_written":
        snapshotWrites.inc({ outcome: "ok" });
        return;
      case "snapshot_failed":
        snapshotWrites.inc({ outcome: "failed" });
        if (event.failures === 1) report(event.error, { file: event.file });
        return;
      case "entries_skipped":
        skipped.inc({ service: event.service }, event.skipped.length);
        log.warn("entries skipped", {
          peer: event.service,
          count: event.skipped.length,
          entries: event.skipped.slice(0, maxLoggedEntries),
        });
        return;
      case "registration_failed":
        registrationErrors.inc({});
        if (isReportedAt(event.failures, event.error)) {
          report(event.error, { instance: event.registration.instance.id, failures: event.failures });
        }
        return;
      case "registration": {
        const { state, previous } = event;
        const { instance, error } = event.registration;
        const { id, host, ports } = instance;
        if (state === "lost") log.warn("registration lost; registering again", { instance: id, error });
        if (state === "registered")
          log.info(previous === "lost" ? "registered again" : "registered", { instance: id, host, ports });
        if (state === "left" && !error) log.info("deregistered", { instance: id });
        return;
      }
      case "registration_updated":
        log.info("registration changed", { instance: event.registration.instance.id });
        return;
      case "maintenance":
        log.info(event.reason === undefined ? "maintenance ended" : "maintenance begun", {
          instance: event.registration.instance.id,
          why: event.reason,
        });
        return;
      case "readiness":
        log.info("registered readiness changed", {
          instance: event.registration.instance.id,
          from: event.previous,
          to: event.readiness,
        });
        return;
      case "deregistration_failed":
        report(event.error, { instance: event.registration.instance.id });
        return;
      case "request_begun":
        addInFlight(event.operation, 1);
        return;
      case "request_ended":
        addInFlight(event.operation, -1);
        requests.observe({ operation: event.operation, outcome: event.outcome }, event.tookMs / 1e3);
    }
  };
}

/** Once for each outage: denied at the first try, since trying again does not help; else when it has lasted. */
function isReportedAt(failures: number, { status }: AppError): boolean {
  return failures === (status === "permission_denied" ? 1 : reportedAtFailure);
}

/** Gauges of what a registry knows, set at each scrape. */
export function measureRegistry(registry: Registry, metrics: Metrics): void {
  const seen = new Set<string>();
  const now = (): Map<string, { readonly instances: number; readonly ageSeconds: number; readonly stale: boolean }> => {
    const services = registry.stats().services.map(({ service, current, error }) => {
      seen.add(service);
      const { instances = [], ageMs = 0, stale = error !== undefined } = current ?? {};
      return [service, { instances: instances.length, ageSeconds: ageMs / 1e3, stale }] as const;
    });
    return new Map(services);
  };
  const gauges = [
    ["registry_instances", "Live instances of a followed service, as last known.", "instances"],
    [
      "registry_set_age_seconds",
      "Time since the registry last confirmed the instances of a followed service.",
      "ageSeconds",
    ],
    ["registry_set_stale", "1 while the instances of a followed service cannot be confirmed.", "stale"],
  ] as const;
  for (const [name, help, field] of gauges) {
    metrics.gauge({
      name,
      help,
      labels: ["service"],
      aggregate: "max",
      collect: (gauge) => {
        const services = now();
        // a service that is followed no longer falls back to 0
        for (const service of seen) gauge.set({ service }, Number(services.get(service)?.[field] ?? 0));
      },
    });
  }
  metrics.gauge({
    name: "registry_instances_by_state",
    help: "Instances of a followed service by state, as last told; those in maintenance or critical get no traffic.",
    labels: ["service", "state"],
    aggregate: "max",
    collect: (gauge) => {
      const followed = new Map(registry.stats().services.map(({ service, states }) => [service, states]));
      for (const service of followed.keys()) seen.add(service);
      for (const service of seen) {
        const counts: Readonly<Record<string, number>> = followed.get(service) ?? noCounts;
        for (const [state, count] of Object.entries(counts)) gauge.set({ service, state }, count);
      }
    },
  });
  metrics.gauge({
    name: "registry_registrations",
    help: "Registrations of this app by state: pending, registered, in maintenance or lost.",
    labels: ["state"],
    collect: (gauge) => {
      const states = registry
        .stats()
        .registrations.map(({ state, maintenanceReason }) =>
          state === "registered" && maintenanceReason !== undefined ? "maintenance" : state,
        );
      for (const state of ["pending", "registered", "maintenance", "lost"])
        gauge.set({ state }, states.filter((each) => each === state).length);
    },
  });
}

/** Degrades the app, and never more: it goes on serving on what is known. */
export function registryCheck(registry: Registry): HealthCheck {
  return {
    name: "registry",
    critical: false,
    run() {
      const { registrations, services } = registry.stats();
      const lost = registrations.find(({ error }) => error !== undefined); // none while the first try is under way
      if (lost) throw unconfirmed(`${lost.instance.id} is ${lost.state}`, lost.error);
      const failing = services.find(({ error }) => error !== undefined);
      if (failing) throw unconfirmed(`the instances of ${failing.service} cannot be confirmed`, failing.error);
    },
  };
}

function unconfirmed(message: string, cause: AppError | undefined): RegistryError {
  return new RegistryError("ERR_REGISTRY_UNCONFIRMED", "unavailable", message, { cause });
}
