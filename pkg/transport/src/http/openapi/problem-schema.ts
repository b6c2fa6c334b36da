import { problemContentType } from "../../problem.ts";
import type { Json } from "./json.ts";

/** What {@link Problem} is, for callers. @see https://www.rfc-editor.org/rfc/rfc9457 */
export const problemSchema: Json = {
  type: "object",
  description: "An error, as problem details (RFC 9457).",
  required: ["type", "title", "status", "code"],
  properties: {
    type: { type: "string", format: "uri-reference", description: "Always about:blank; the code tells errors apart." },
    title: { type: "string", description: "The phrase of the status." },
    status: { type: "integer", minimum: 400, maximum: 599, description: "The status of the reply." },
    code: { type: "string", description: "Stable name of the error, such as ERR_REQUEST_INVALID." },
    detail: { type: "string", description: "What went wrong, for people." },
    traceId: { type: "string", description: "Finds the request in logs and traces." },
    retryable: { type: "boolean", description: "Whether the same request may go well later." },
    metadata: { type: "object", additionalProperties: { type: "string" } },
    errors: {
      type: "array",
      description: "Each fault in the request.",
      items: {
        type: "object",
        required: ["pointer", "detail"],
        properties: {
          pointer: {
            type: "string",
            description: "JSON pointer into the body, or one that begins with /params, /query or /headers.",
          },
          detail: { type: "string" },
        },
      },
    },
  },
};

/** Stands for the schema in a document. */
export const problemName = "Problem";

export const problemReply: Json = {
  description: "An error.",
  content: { [problemContentType]: { schema: { $ref: `#/components/schemas/${problemName}` } } },
};

export const problemReplyRef: Json = { $ref: `#/components/responses/${problemName}` };
