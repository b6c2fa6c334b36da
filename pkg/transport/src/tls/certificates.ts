import type { SecureContextOptions } from "node:tls";
import { type Clock, type Logger, messageOf, type Metrics, type Scheduled, watchFiles } from "@plinth/kernel";
import { type CertificateMetrics, certificateMetricsOf, clientCertificateMetricsOf } from "./metrics.ts";
import { type CertificatePair, type PairFiles, readCertificatePair } from "./pair.ts";
import type { TlsSettings } from "./settings.ts";

export interface CertificatesOptions {
  readonly settings: TlsSettings;
  /** Which listener has them, in logs and labels: `http`. */
  readonly listener: string;
  readonly clock: Clock;
  /** Absent: the metrics alone tell. */
  readonly log?: Logger | undefined;
  readonly metrics: Metrics;
  /** Given what new handshakes are to be made with, as for `tls.Server.setSecureContext`. Connections that are open stay. */
  readonly onChange: (context: SecureContextOptions) => void;
}

/** A client's, as {@link CertificatesOptions} are a listener's. */
export interface ClientCertificatesOptions {
  readonly files: PairFiles;
  /** Who is called, in logs and labels. */
  readonly peer: string;
  readonly clock: Clock;
  /** Absent: the metrics alone tell. */
  readonly log?: Logger | undefined;
  /** Absent: the log alone tells. */
  readonly metrics?: Metrics | undefined;
  /** Given what new connections are to be made with. Those that are open stay. */
  readonly onChange: (context: SecureContextOptions) => void;
}

/** The certificate that a listener or a client uses now. */
export interface Certificates {
  readonly context: SecureContextOptions;
  /** Ends the watch of its files. Safe to call twice. */
  close(): void;
}

/** How often a pair that was refused is tried again though its files stay as they are: it may become valid. */
const retryMs = 60_000;
const dayMs = 86_400_000;

/**
 * Reads the certificate of a listener, and each one that takes its place in the same files, also by a swap of symbolic links.
 * One that cannot be used, half written, of another key, expired, is told of in log and metrics, and the one before stays.
 * The end of the one in use is a metric, and in the log from `expiryWarningDays` before it on. Keeps no process alive.
 *
 * @throws {@link TransportError} `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE` when the first cannot be used.
 */
export function watchCertificates(options: CertificatesOptions): Certificates {
  const { settings, listener, metrics } = options;
  const { certFile, keyFile, caFile, minVersion, expiryWarningDays } = settings;
  return new WatchedCertificates({
    ...options,
    files: { certFile, keyFile, caFile, minVersion },
    whose: { listener },
    metrics: certificateMetricsOf(metrics),
    expiryWarningDays,
  });
}

/**
 * The same of a client: its certificate, where it has one, and the authorities that it trusts.
 * @throws {@link TransportError} `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE` when the first cannot be used.
 */
export function watchClientCertificates(options: ClientCertificatesOptions): Certificates {
  const { peer, metrics } = options;
  return new WatchedCertificates({
    ...options,
    whose: { peer },
    metrics: metrics && clientCertificateMetricsOf(metrics),
    expiryWarningDays: 14,
  });
}

interface WatchOptions {
  readonly files: PairFiles;
  /** As lines of the log have it. */
  readonly whose: { readonly listener: string } | { readonly peer: string };
  readonly clock: Clock;
  readonly log?: Logger | undefined;
  readonly metrics: CertificateMetrics | undefined;
  readonly expiryWarningDays: number;
  readonly onChange: (context: SecureContextOptions) => void;
}

class WatchedCertificates implements Certificates {
  readonly #options: WatchOptions;
  readonly #name: string;
  readonly #ended = new AbortController();
  #pair: CertificatePair;
  #retry: Scheduled | undefined;
  #reminder: Scheduled | undefined;
  /** What the log has said of a pair that was refused. */
  #told: string | undefined;

  constructor(options: WatchOptions) {
    const { files, clock, metrics, whose } = options;
    const { certFile, keyFile, caFile } = files;
    this.#options = options;
    this.#name = "peer" in whose ? whose.peer : whose.listener;
    this.#pair = readCertificatePair(files, clock.now());
    const { signal } = this.#ended;
    metrics?.follow(this.#name, () => this.#pair.expiresAtMs, signal);
    const paths = [certFile, keyFile, caFile].filter((path) => path !== undefined);
    watchFiles(paths, { clock, onChange: () => this.#load(), signal });
    // what was written between the two readings above is told of by nobody
    this.#load();
    this.#remind();
  }

  get context(): SecureContextOptions {
    return this.#pair.context;
  }

  close(): void {
    this.#ended.abort();
    this.#retry?.cancel();
    this.#reminder?.cancel();
  }

  #load(): void {
    const { files, clock, log, metrics, whose, onChange } = this.#options;
    this.#retry?.cancel();
    try {
      const pair = readCertificatePair(files, clock.now());
      this.#told = undefined;
      if (isSame(pair.context, this.#pair.context)) return;
      onChange(pair.context);
      this.#pair = pair;
    } catch (error) {
      metrics?.count(this.#name, "refused");
      if (this.#told !== messageOf(error)) {
        const text = "the new certificate cannot be used, and the one before stays";
        log?.error(text, { ...whose, error, ...expiryOf(this.#pair) });
      }
      this.#told = messageOf(error);
      this.#retry = clock.schedule(retryMs, () => this.#load(), { keepAlive: false });
      return;
    }
    metrics?.count(this.#name, "loaded");
    const { fingerprint } = this.#pair;
    log?.info("a new certificate is used", { ...whose, fingerprint, ...expiryOf(this.#pair) });
    this.#remind();
  }

  /** Once a day. */
  #remind(): void {
    const { files, clock, log, whose, expiryWarningDays } = this.#options;
    this.#reminder?.cancel();
    if (this.#pair.expiresAtMs === Infinity) return;
    this.#reminder = clock.schedule(dayMs, () => this.#remind(), { keepAlive: false });
    const days = Math.floor((this.#pair.expiresAtMs - clock.now()) / dayMs);
    const fields = { ...whose, file: files.certFile, ...expiryOf(this.#pair), days_left: days };
    if (days < 0) log?.error("the certificate in use has expired; renew it", fields);
    else if (days < expiryWarningDays) log?.warn("the certificate in use expires soon; renew it", fields);
  }
}

function expiryOf({ expiresAtMs }: CertificatePair): { readonly expires?: string } {
  return expiresAtMs === Infinity ? {} : { expires: new Date(expiresAtMs).toISOString() };
}

function isSame(one: SecureContextOptions, other: SecureContextOptions): boolean {
  return one.cert === other.cert && one.key === other.key && one.ca === other.ca;
}
