import type { Metrics } from "@plinth/kernel";

/** What is told of the certificates of all listeners of an app. */
export interface CertificateMetrics {
  /** Shows the end of a listener's certificate, in milliseconds since the Unix epoch, until the signal aborts. */
  follow(listener: string, expiresAtMs: () => number, signal: AbortSignal): void;
  count(listener: string, outcome: "loaded" | "refused"): void;
}

const byRegistry = new WeakMap<Metrics, CertificateMetrics>();

/** Those of one registry: its HTTP and its gRPC server share the metrics, whichever comes first. */
export function certificateMetricsOf(metrics: Metrics): CertificateMetrics {
  const known = byRegistry.get(metrics);
  if (known) return known;
  const followed = new Map<string, () => number>();
  metrics.gauge({
    name: "tls_certificate_expiry_timestamp_seconds",
    help: "When the certificate in use expires, in seconds since the Unix epoch.",
    labels: ["listener"],
    aggregate: "min",
    collect: (gauge) => {
      for (const [listener, expiresAtMs] of followed) gauge.set({ listener }, expiresAtMs() / 1e3);
    },
  });
  const loads = metrics.counter({
    name: "tls_certificate_loads_total",
    help: "Certificates found in the files of a listener since its start, taken into use or refused.",
    labels: ["listener", "outcome"],
  });
  const made: CertificateMetrics = {
    follow(listener, expiresAtMs, signal) {
      followed.set(listener, expiresAtMs);
      signal.addEventListener("abort", () => {
        if (followed.get(listener) === expiresAtMs) followed.delete(listener);
      });
    },
    count: (listener, outcome) => loads.inc({ listener, outcome }),
  };
  byRegistry.set(metrics, made);
  return made;
}
