import type { SecureContextOptions } from "node:tls";
import { type Clock, type Logger, messageOf, type Metrics, type Scheduled, watchFiles } from "@plinth/kernel";
import { certificateMetricsOf } from "./metrics.ts";
import { type CertificatePair, readCertificatePair } from "./pair.ts";
import type { TlsSettings } from "./settings.ts";

export interface CertificatesOptions {
  readonly settings: TlsSettings;
  /** Which listener has them, in logs and labels: `http`. */
  readonly listener: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Given what new handshakes are to be made with, as for `tls.Server.setSecureContext`. Connections that are open stay. */
  readonly onChange: (context: SecureContextOptions) => void;
}

/** The certificate that a listener uses now. */
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
  return new WatchedCertificates(options);
}

class WatchedCertificates implements Certificates {
  readonly #options: CertificatesOptions;
  readonly #ended = new AbortController();
  #pair: CertificatePair;
  #retry: Scheduled | undefined;
  #reminder: Scheduled | undefined;
  /** What the log has said of a pair that was refused. */
  #told: string | undefined;

  constructor(options: CertificatesOptions) {
    const { settings, clock, metrics, listener } = options;
    const { certFile, keyFile, caFile } = settings;
    this.#options = options;
    this.#pair = readCertificatePair(settings, clock.now());
    const { signal } = this.#ended;
    certificateMetricsOf(metrics).follow(listener, () => this.#pair.expiresAtMs, signal);
    const paths = [certFile, keyFile, ...(caFile === undefined ? [] : [caFile])];
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
    const { settings, clock, log, metrics, listener, onChange } = this.#options;
    this.#retry?.cancel();
    const known = certificateMetricsOf(metrics);
    try {
      const pair = readCertificatePair(settings, clock.now());
      this.#told = undefined;
      if (isSame(pair.context, this.#pair.context)) return;
      onChange(pair.context);
      this.#pair = pair;
    } catch (error) {
      known.count(listener, "refused");
      if (this.#told !== messageOf(error)) {
        const text = "the new certificate cannot be used, and the one before stays";
        log.error(text, { listener, error, expires: isoOf(this.#pair) });
      }
      this.#told = messageOf(error);
      this.#retry = clock.schedule(retryMs, () => this.#load(), { keepAlive: false });
      return;
    }
    known.count(listener, "loaded");
    const { fingerprint } = this.#pair;
    log.info("a new certificate is used", { listener, fingerprint, expires: isoOf(this.#pair) });
    this.#remind();
  }

  /** Once a day. */
  #remind(): void {
    const { settings, clock, log, listener } = this.#options;
    this.#reminder?.cancel();
    this.#reminder = clock.schedule(dayMs, () => this.#remind(), { keepAlive: false });
    const days = Math.floor((this.#pair.expiresAtMs - clock.now()) / dayMs);
    const fields = { listener, file: settings.certFile, expires: isoOf(this.#pair), days_left: days };
    if (days < 0) log.error("the certificate in use has expired; renew it", fields);
    else if (days < settings.expiryWarningDays) log.warn("the certificate in use expires soon; renew it", fields);
  }
}

function isoOf({ expiresAtMs }: CertificatePair): string {
  return new Date(expiresAtMs).toISOString();
}

function isSame(one: SecureContextOptions, other: SecureContextOptions): boolean {
  return one.cert === other.cert && one.key === other.key && one.ca === other.ca;
}
