import type { Metrics } from "@plinth/kernel";

/** What is told of the certificates of all listeners of an app, or of all its clients. */
export interface CertificateMetrics {
  /** Shows the end of a certificate, in milliseconds since the Unix epoch, until the signal aborts; not one without an end. */
  follow(name: string, expiresAtMs: () => number, signal: AbortSignal): void;
  count(name: string, outcome: "loaded" | "refused"): void;
}

const ofListeners = new WeakMap<Metrics, CertificateMetrics>();
const ofClients = new WeakMap<Metrics, CertificateMetrics>();

/** Those of one registry: its HTTP and its gRPC server share the metrics, whichever comes first. */
export function certificateMetricsOf(metrics: Metrics): CertificateMetrics {
  const known = ofListeners.get(metrics);
  if (known) return known;
  const ends = new Ends();
  metrics.gauge({
    name: "tls_certificate_expiry_timestamp_seconds",
    help: "When the certificate in use expires, in seconds since the Unix epoch.",
    labels: ["listener"],
    aggregate: "min",
    collect: (gauge) => {
      for (const [listener, seconds] of ends.seconds()) gauge.set({ listener }, seconds);
    },
  });
  const loads = metrics.counter({
    name: "tls_certificate_loads_total",
    help: "Certificates found in the files of a listener since its start, taken into use or refused.",
    labels: ["listener", "outcome"],
  });
  const made: CertificateMetrics = {
    follow: (listener, expiresAtMs, signal) => ends.follow(listener, expiresAtMs, signal),
    count: (listener, outcome) => loads.inc({ listener, outcome }),
  };
  ofListeners.set(metrics, made);
  return made;
}

/** Those of the clients that share a registry. */
export function clientCertificateMetricsOf(metrics: Metrics): CertificateMetrics {
  const known = ofClients.get(metrics);
  if (known) return known;
  const ends = new Ends();
  metrics.gauge({
    name: "tls_client_certificate_expiry_timestamp_seconds",
    help: "When the certificate that a client shows expires, in seconds since the Unix epoch.",
    labels: ["peer"],
    aggregate: "min",
    collect: (gauge) => {
      for (const [peer, seconds] of ends.seconds()) gauge.set({ peer }, seconds);
    },
  });
  const loads = metrics.counter({
    name: "tls_client_certificate_loads_total",
    help: "Certificates and authorities found in the files of a client since its start, taken into use or refused.",
    labels: ["peer", "outcome"],
  });
  const made: CertificateMetrics = {
    follow: (peer, expiresAtMs, signal) => ends.follow(peer, expiresAtMs, signal),
    count: (peer, outcome) => loads.inc({ peer, outcome }),
  };
  ofClients.set(metrics, made);
  return made;
}

/** When the certificates in use end, by name; the last that was followed stands for all of a name. */
class Ends {
  readonly #followed = new Map<string, () => number>();

  follow(name: string, expiresAtMs: () => number, signal: AbortSignal): void {
    this.#followed.set(name, expiresAtMs);
    signal.addEventListener("abort", () => {
      if (this.#followed.get(name) === expiresAtMs) this.#followed.delete(name);
    });
  }

  *seconds(): Generator<[name: string, seconds: number]> {
    for (const [name, expiresAtMs] of this.#followed) if (expiresAtMs() !== Infinity) yield [name, expiresAtMs() / 1e3];
  }
}
