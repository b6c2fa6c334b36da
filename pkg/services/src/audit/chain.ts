import { createHash } from "node:crypto";
import { AuditError } from "./errors.ts";
import type { AuditEntry, AuditHead } from "./types.ts";

/** What the first entry has in the place of the hash before it. */
export const noHash = "0".repeat(64);

/**
 * The hash of an entry as the contract says it, in hexadecimal digits: SHA-256 over its parts, each preceded by its length in bytes.
 * @see plinth/audit/v1/audit.proto
 */
export function auditEntryHash({ sequence, recordedAt, event, previousHash }: Omit<AuditEntry, "hash">): string {
  const { eventId, occurredAt, actor, action, target, outcome, source = {}, attributes } = event;
  const sorted = Object.entries(attributes)
    .map(([key, value]) => [Buffer.from(key), Buffer.from(value)] as const)
    .toSorted(([a], [b]) => Buffer.compare(a, b));
  const parts: readonly (string | number | Buffer)[] = [
    "plinth.audit.v1",
    Buffer.from(previousHash, "hex"),
    sequence,
    recordedAt.getTime(),
    eventId,
    occurredAt.getTime(),
    actor.type,
    actor.id,
    action,
    target?.type ?? "",
    target?.id ?? "",
    outcome,
    source.service ?? "",
    source.address ?? "",
    source.requestId ?? "",
    source.traceId ?? "",
    sorted.length,
    ...sorted.flat(),
  ];
  const hash = createHash("sha256");
  for (const part of parts) {
    const bytes = typeof part === "object" ? part : Buffer.from(String(part));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  }
  return hash.digest("hex");
}

/**
 * Holds entries, in the order of the chain and without any left out, to their hashes.
 *
 * @param options.after - The place that they come after, as it was kept elsewhere. Default: the first entry's own word for it; that of
 *   the beginning where its sequence is 1.
 * @returns The last place; `after`, or that before the chain, where there are no entries.
 * @throws {@link AuditError} `ERR_AUDIT_CHAIN` at the first entry that was changed, left out or put in between, with metadata `sequence`.
 */
export async function verifyAuditChain(
  entries: AsyncIterable<AuditEntry> | Iterable<AuditEntry>,
  { after }: { readonly after?: Pick<AuditHead, "sequence" | "hash"> | undefined } = {},
): Promise<Pick<AuditHead, "sequence" | "hash">> {
  let last = after;
  for await (const entry of entries) {
    const { sequence, previousHash, hash } = entry;
    last ??= sequence === 1 ? { sequence: 0, hash: noHash } : { sequence: sequence - 1, hash: previousHash };
    if (sequence !== last.sequence + 1) throw broken(sequence, `comes after ${last.sequence}`);
    if (previousHash !== last.hash) throw broken(sequence, "does not stand on the entry before it");
    if (hash !== auditEntryHash(entry)) throw broken(sequence, "is not what was hashed");
    last = { sequence, hash };
  }
  return last ?? { sequence: 0, hash: noHash };
}

function broken(sequence: number, what: string): AuditError {
  return new AuditError("ERR_AUDIT_CHAIN", "data_loss", `the chain is broken: entry ${sequence} ${what}`, {
    metadata: { sequence: String(sequence) },
  });
}
