import type { Secret } from "@plinth/kernel";
import { ReporterError } from "../errors.ts";

/** Where a webhook posts to, and what it shows there. */
export interface WebhookTarget {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
}

/** What a fault says of a URL and of a token, which must not stand in it themselves. */
export const urlForm = "expected an absolute URL that begins with http:// or https://";
export const tokenForm = "expected printable ASCII without spaces; is there a line break at its end?";
const oneLogin = "the URL holds a user already, and only one of the two can be sent; take one away";

/** @throws {@link ReporterError} `ERR_REPORTER_URL`, `ERR_REPORTER_TOKEN`. */
export function toTarget(url: Secret, token: Secret | undefined): WebhookTarget {
  if (!isPostable(url.reveal())) throw new ReporterError("ERR_REPORTER_URL", "invalid_argument", `url: ${urlForm}`);
  const target = new URL(url.reveal());
  if (token === undefined) return { url: target, headers: {} };
  const fault = isBearer(token.reveal()) ? target.username && oneLogin : tokenForm;
  if (fault) throw new ReporterError("ERR_REPORTER_TOKEN", "invalid_argument", `token: ${fault}`);
  return { url: target, headers: { authorization: `Bearer ${token.reveal()}` } };
}

export function isPostable(url: string): boolean {
  return /^https?:$/.test(URL.parse(url)?.protocol ?? "");
}

/** @see RFC 6750, 2.1 */
export function isBearer(token: string): boolean {
  return /^[\x21-\x7e]+$/.test(token);
}
