import { RegistryError } from "../errors.ts";

/**
 * The origin of a Consul agent's HTTP API.
 *
 * @param text - `host`, `host:port`, `http://host:port` or `https://host:port`. Port 8500 unless said (443 for https).
 * @throws {@link RegistryError} `ERR_REGISTRY_ADDRESS`
 * @example parseConsulAddress("127.0.0.1:8500") // "http://127.0.0.1:8500"
 */
export function parseConsulAddress(text: string): string {
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  if (!url || url.hostname === "") throw addressError(text, "it cannot be read as one");
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw addressError(text, `${url.protocol} is not spoken here`);
  }
  if (url.username !== "" || url.password !== "") {
    throw addressError("(hidden)", "it holds a password; use the token setting");
  }
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") {
    throw addressError(text, "it has a path or a query");
  }
  if (url.protocol === "http:" && !/:\d+\/?$/.test(text)) url.port = "8500"; // a URL drops :80 as the default of http
  return url.origin;
}

function addressError(text: string, why: string): RegistryError {
  return new RegistryError(
    "ERR_REGISTRY_ADDRESS",
    "invalid_argument",
    `consul address ${JSON.stringify(text)} cannot be used: ${why}; write it as host:port or http://host:port`,
  );
}
