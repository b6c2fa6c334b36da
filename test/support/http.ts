// One request and its whole reply, for tests that look at both.

export interface Ask {
  readonly method?: string;
  readonly token?: string;
  /** Sent as JSON; a string as it is. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON. */
  json(): unknown;
}

const limitMs = 15_000;

/** @throws When no whole reply comes. */
export async function ask(url: string, { method, token, body, headers = {} }: Ask = {}): Promise<Answer> {
  const response = await fetch(url, {
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    redirect: "manual",
    signal: AbortSignal.timeout(limitMs),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) as unknown };
}

/** The sum of the series of `name` that have these labels, in a Prometheus text; 0 when there is none. */
export function seriesOf(text: string, name: string, labels: Readonly<Record<string, string>> = {}): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  let sum = 0;
  for (const line of text.split("\n")) {
    const [, series, present = "", value] = /^([a-z_]+)(?:\{(.*?)\})? (\S+)/.exec(line) ?? [];
    if (series === name && wanted.every((label) => present.includes(label))) sum += Number(value);
  }
  return sum;
}
