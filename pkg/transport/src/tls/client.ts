import type { SecureContextOptions } from "node:tls";
import { type Clock, type Logger, type Metrics, OptionError, systemClock } from "@plinth/kernel";
import { watchClientCertificates } from "./certificates.ts";

/** Whom a client trusts, and who it is. All in PEM. */
export interface ClientTls {
  /** Authorities that sign the server's certificate. Default: Node's. */
  readonly ca?: string | Buffer;
  /** The client's own certificate and its key, both or none: for servers that ask for one. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  /**
   * The same from files, each in the place of its text. They are looked at once a second, and what they hold then is for new connections;
   * what cannot be used is told of in log and metrics, and leaves in use what was there before.
   */
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  /** The name that the server's certificate must be of. Default: the host that is called. */
  readonly serverName?: string;
}

export interface ClientContextOptions {
  readonly tls: ClientTls;
  readonly peer: string;
  readonly clock?: Clock | undefined;
  readonly log?: Logger | undefined;
  readonly metrics?: Metrics | undefined;
  /** Called when {@link ClientContext.secure} is another. */
  readonly onChange?: () => void;
}

/** What new connections of a client are made with, which changes as its files do. */
export interface ClientContext {
  readonly secure: Pick<SecureContextOptions, "ca" | "cert" | "key">;
  /** Ends the watch of the files. Safe to call twice. */
  close(): void;
}

/**
 * @throws OptionError `ERR_OPTION_TYPE` for a text and a file of the same thing, and for half of a pair.
 * @throws {@link TransportError} `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE` for files that cannot be used.
 */
export function clientContextOf(options: ClientContextOptions): ClientContext {
  const { tls, clock = systemClock, onChange } = options;
  const { ca, cert, key, caFile, certFile, keyFile } = tls;
  for (const name of ["ca", "cert", "key"] as const)
    if (tls[name] !== undefined && tls[`${name}File`] !== undefined)
      throw wrong(`tls.${name} and tls.${name}File are two of one thing; give one`);
  if (((cert ?? certFile) === undefined) !== ((key ?? keyFile) === undefined))
    throw wrong("tls has a certificate without its key, or a key without its certificate; give both or none");
  if ((certFile === undefined) !== (keyFile === undefined))
    throw wrong("tls has one of certificate and key in a file; give both as files, so that both are renewed, or none");
  const given = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
  if (certFile === undefined && caFile === undefined) return { secure: given, close() {} };
  let secure: ClientContext["secure"] = given;
  let isMade = false;
  const certificates = watchClientCertificates({
    ...options,
    files: { caFile, certFile, keyFile },
    clock,
    onChange: (context) => {
      secure = { ...given, ...context };
      if (isMade) onChange?.();
    },
  });
  secure = { ...given, ...certificates.context };
  isMade = true;
  return {
    get secure() {
      return secure;
    },
    close: () => certificates.close(),
  };
}

function wrong(message: string): OptionError {
  return new OptionError("ERR_OPTION_TYPE", "invalid_argument", message);
}
