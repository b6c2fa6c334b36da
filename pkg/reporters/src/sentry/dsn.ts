/** What a fault says of a DSN, which must not stand in it itself. */
export const dsnForm = "expected a DSN as Sentry shows it: https://KEY@HOST/PROJECT, the project a number";

/** Narrower than Sentry's own check, which prints what it refuses. */
const pattern = /^https?:\/\/\w+(?::\w*)?@(?:\[[:.%\w]+\]|[\w.-]+)(?::\d{1,5})?\/(?:[^\s?#]+\/)?\d+$/;

export function isDsn(text: string): boolean {
  return pattern.test(text) && URL.canParse(text);
}
