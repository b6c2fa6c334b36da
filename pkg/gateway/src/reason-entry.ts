/** Why the gateway answered by itself, or cut an answer off. */
export interface ReasonEntry {
  /** HTTP status of the reply; what the access log shows when there was no reply to give. */
  readonly status: number;
  /** Fixed text for the client, unless the cause has a more exact fixed text. Nothing internal. */
  readonly detail: string;
  /** For the operator: what happened and where to look. */
  readonly help: string;
  /** Whether the connection must end after the reply, because what follows on it cannot be trusted or will not be read. */
  readonly closes?: true;
  /** Whether trying the same again later may help. */
  readonly retryable?: true;
}

export const entry = (
  status: number,
  detail: string,
  help: string,
  more: Pick<ReasonEntry, "closes" | "retryable"> = {},
): ReasonEntry => Object.freeze({ status, detail, help, ...more });
