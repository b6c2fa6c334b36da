import { RegistryError } from "../errors.ts";

/** Where the HTTP API of an agent is. */
export interface ConsulAddress {
  /** What URLs begin with; `http://localhost` for a socket. */
  readonly origin: string;
  /** Path of a Unix domain socket; absent: the origin's host and port. */
  readonly socketPath?: string;
  /** As messages name it, and as it can be parsed again: the origin, with a port 80 that URLs leave out, or `unix:///path`. */
  readonly text: string;
}

export interface ParseAddressOptions {
  /** TLS also where the text does not say so, as `CONSUL_HTTP_SSL` means it. Default false. */
  readonly tls?: boolean;
  /** What holds the text, for messages. Default `consul address`. */
  readonly name?: string;
}

const defaultPort = "8500";
const maxSocketPathBytes = 107; // sockaddr_un of Linux

/**
 * @param text - `host`, `host:port`, `http://host:port`, `https://host:port` or `unix:///path`. Port 8500 unless said (443 for https://).
 * @throws {@link RegistryError} `ERR_REGISTRY_ADDRESS`
 * @example parseConsulAddress("127.0.0.1:8500").origin // "http://127.0.0.1:8500"
 */
export function parseConsulAddress(text: string, options: ParseAddressOptions = {}): ConsulAddress {
  const { tls = false, name = "consul address" } = options;
  const refuse = (why: string, shown = text): never => {
    throw new RegistryError(
      "ERR_REGISTRY_ADDRESS",
      "invalid_argument",
      `${name} ${JSON.stringify(shown)} cannot be used: ${why}; write it as host:port, http://host:port, https://host:port or unix:///path`,
    );
  };
  if (/^unix:/i.test(text)) return parseSocket(text, tls, refuse);
  const hasScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
  const url = URL.parse(hasScheme ? text : `http://${text}`);
  if (!url || url.hostname === "") return refuse("it cannot be read as one");
  if (url.protocol !== "http:" && url.protocol !== "https:") return refuse(`${url.protocol} is not spoken here`);
  if (url.username !== "" || url.password !== "") {
    return refuse("it holds a password; use the token, or httpAuth", "(hidden)");
  }
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") return refuse("it has a path or a query");
  const port = /:(\d+)\/?$/.exec(text)?.[1] ?? (url.protocol === "http:" ? defaultPort : ""); // a URL drops :80
  const { origin } = new URL(`${tls ? "https:" : url.protocol}//${url.hostname}${port && `:${port}`}`);
  return { origin, text: origin.startsWith("http:") && port === "80" ? `${origin}:80` : origin };
}

function parseSocket(text: string, tls: boolean, refuse: (why: string) => never): ConsulAddress {
  const path = text.slice("unix://".length);
  if (!/^unix:\/\/\/./i.test(text)) return refuse("a socket is named by its whole path, after unix://");
  if (path.includes("\0")) return refuse("no path holds a NUL");
  if (Buffer.byteLength(path) > maxSocketPathBytes) return refuse(`a path has at most ${maxSocketPathBytes} bytes`);
  if (tls) return refuse("TLS is not spoken on a socket of this machine");
  return { origin: "http://localhost", socketPath: path, text: `unix://${path}` };
}

/** Name or address of the machine that an agent is on; undefined for one behind a socket of this machine. */
export function agentHostOf(text: string): string | undefined {
  const { origin, socketPath } = parseConsulAddress(text);
  return socketPath === undefined ? new URL(origin).hostname.replace(/^\[(.*)\]$/, "$1") : undefined;
}
