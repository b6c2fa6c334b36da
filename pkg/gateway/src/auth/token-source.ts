import type { TokenFromConfig } from "../config/schema-auth.ts";
import type { RequestHead } from "../headers/request-head.ts";

/** Where a route's tokens come from, when that is not the Authorization header. There is one place, and no other is looked at. */
export class TokenSource {
  readonly #name: string;
  readonly #take: (headers: string[], name: string, keep: boolean) => readonly string[];
  readonly #keep: boolean;

  /** @param keep - Whether the service gets the token as well. */
  constructor({ header, cookie }: TokenFromConfig, keep: boolean) {
    this.#name = header ?? cookie ?? "";
    this.#take = header === undefined ? takeCookies : takeHeaders;
    this.#keep = keep;
  }

  /**
   * Takes the token out of the head, so that the service does not get it.
   * @returns `ambiguous` when there are two, there or in the Authorization header: any one of them would be a guess.
   */
  take(head: Pick<RequestHead, "headers" | "authorization">): { readonly token: string | undefined } | "ambiguous" {
    const [token, ...more] = this.#take(head.headers, this.#name, this.#keep);
    if (more.length > 0 || (token !== undefined && head.authorization !== undefined)) return "ambiguous";
    return { token };
  }
}

function takeHeaders(headers: string[], name: string, keep: boolean): string[] {
  const found: string[] = [];
  for (let at = headers.length - 2; at >= 0; at -= 2) {
    if (headers[at]?.toLowerCase() !== name) continue;
    found.push(headers[at + 1] ?? "");
    if (!keep) headers.splice(at, 2);
  }
  return found;
}

/** @see https://www.rfc-editor.org/rfc/rfc6265#section-4.2.1 */
function takeCookies(headers: string[], name: string, keep: boolean): string[] {
  const found: string[] = [];
  for (let at = headers.length - 2; at >= 0; at -= 2) {
    if (headers[at]?.toLowerCase() !== "cookie") continue;
    const others: string[] = [];
    for (const pair of (headers[at + 1] ?? "").split(";")) {
      const [own = "", ...value] = pair.split("=");
      if (own.trim() === name) found.push(value.join("=").trim());
      else if (pair.trim() !== "") others.push(pair.trim());
    }
    if (keep || found.length === 0) continue;
    if (others.length === 0) headers.splice(at, 2);
    else headers[at + 1] = others.join("; ");
  }
  return found;
}
