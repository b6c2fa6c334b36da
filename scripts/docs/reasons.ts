// docs/reasons.md, from the gateway's own table.
import { problemBody } from "../../pkg/gateway/src/problem.ts";
import { type Reason, type ReasonEntry, reasons } from "../../pkg/gateway/src/reasons.ts";
import { code, toTable } from "./tables.ts";

export function reasonsPage(): string {
  return `# Reasons

Why the gateway answered by itself, or cut a reply off. The same word stands in the reply, the access log, the label \`reason\` of
\`gateway_requests_total\` and the span. Words and codes are stable; texts may change, and a cause may have a more exact text of its own.

Made from \`pkg/gateway/src/reasons.ts\` by \`npm run docs\`; change it there.

${toTable(["reason", "HTTP", "the client reads", "the operator should know", "code"], reasonRows())}

"Try again": the reply says \`"retryable": true\`. "Closes": the connection ends with the reply.
`;
}

function reasonRows(): string[][] {
  return namesOf(reasons).map((reason) => {
    const { status, detail, help, retryable, closes }: ReasonEntry = reasons[reason];
    const more = `${retryable ? " Try again." : ""}${closes ? " Closes." : ""}`;
    return [code(reason), String(status), detail, `${help}${more}`, code(codeOf(reason))];
  });
}

function namesOf<T extends object>(table: T): (keyof T)[] {
  const names: (keyof T)[] = [];
  for (const name in table) names.push(name);
  return names;
}

/** As clients get it. */
function codeOf(reason: Reason): string {
  const body: unknown = JSON.parse(problemBody(reason, undefined));
  if (typeof body === "object" && body !== null && "code" in body) return String(body.code);
  throw new Error(`the reply for ${reason} has no code`);
}
