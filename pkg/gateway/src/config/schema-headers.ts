import { z } from "zod";
import { handlingOf, isForClient } from "../headers/names.ts";
import { claimsIn, parseTemplate } from "../headers/template.ts";

const name = z
  .string()
  .max(128)
  .regex(/^[a-z0-9!#$%&'*+.^`|~-]+$/, "expected a header's name in lower case, without _");
const value = z.string().max(4_096);

const rules = z
  .strictObject({
    set: z.record(name, value).optional().meta({ description: "Takes the place of whatever is there." }),
    add: z.record(name, value).optional().meta({ description: "Comes beside what is there." }),
    remove: z.array(name).optional().meta({ description: "Is taken away." }),
  })
  .optional();

/** Headers that a route changes. */
export const headersSchema = z
  .strictObject({
    request: rules.meta({ description: "Of the request, for the service." }),
    reply: rules.meta({ description: "Of the service's reply, for the client. Replies of the gateway itself stay." }),
  })
  .optional()
  .meta({
    description:
      "Headers that are set, added and removed. Values may hold `${request.id}`, `${route.name}`, `${client.address}` and `${claim.NAME}` of the token; a header whose claim is absent is left out. Headers of the connection, of the message's length, and those that the gateway writes itself are refused.",
  });

export type HeadersConfig = z.output<typeof headersSchema>;

/** Of replies, beside those of the connection: the length of the message, and what the gateway says itself. */
const notInReplies: ReadonlySet<string> = new Set([
  "content-length",
  "date",
  "ratelimit",
  "ratelimit-policy",
  "strict-transport-security",
  "via",
]);

/** Says what is wrong with `headers` of a route, each with its place below it. */
export function checkHeaders(
  config: HeadersConfig,
  hasToken: boolean,
  onProblem: (problem: string, path: readonly PropertyKey[]) => void,
): void {
  for (const way of ["request", "reply"] as const) {
    const { set = {}, add = {}, remove = [] } = config?.[way] ?? {};
    const seen = new Set<string>();
    const check = (header: string, place: readonly PropertyKey[]): void => {
      if (!mayChange(way, header))
        onProblem(`${header} is managed by the gateway, or is not part of the message`, place);
      if (seen.has(header)) onProblem(`${header} has a rule already`, place);
      seen.add(header);
    };
    for (const [kind, values] of [["set", set] as const, ["add", add] as const]) {
      for (const [header, text] of Object.entries(values)) {
        const place = ["headers", way, kind, header];
        check(header, place);
        const template = parseTemplate(text);
        if (typeof template === "string") onProblem(template, place);
        else if (claimsIn(text).length > 0 && !hasToken) onProblem("names a claim, but the route has no `auth`", place);
      }
    }
    for (const [index, header] of remove.entries()) check(header, ["headers", way, "remove", index]);
  }
}

/** Whether a header is of the message, and nobody's to say but those who write it. @param header - In lower case. */
export function mayChange(way: "request" | "reply", header: string): boolean {
  if (way === "request") return handlingOf(header) === "pass";
  return isForClient(header) && !notInReplies.has(header) && !header.startsWith("plinth-");
}
