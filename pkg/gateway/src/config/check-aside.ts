import { Worker } from "node:worker_threads";
import { GatewayError } from "../errors.ts";
import { type CheckedDocument, checkText, type DocumentText } from "./document.ts";

/** From so many characters on, which is some 600 routes, the event loop would notice. */
const asideFrom = 65_536;

/**
 * Reads and checks the text of a document; a large one in a thread of its own, since requests would wait for it.
 * @param signal - Ends the thread.
 * @throws {@link GatewayError} `ERR_GATEWAY_THREAD` when there can be no thread, or it ends before it is done.
 */
export async function checkAside(
  document: DocumentText,
  signal: AbortSignal,
  start: () => Worker = startThread,
): Promise<CheckedDocument> {
  if (document.text.length < asideFrom) return checkText(document);
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<CheckedDocument>();
  const thread = started(start);
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  thread
    .once("message", (checked: CheckedDocument) => resolve(checked)) // of our own code
    .once("error", (error) => reject(threadError(error)))
    .once("exit", (code) => reject(threadError(new Error(`it ended with code ${code}`))));
  try {
    thread.postMessage(document);
    return await promise;
  } finally {
    signal.removeEventListener("abort", abort);
    await thread.terminate();
  }
}

function startThread(): Worker {
  return new Worker(new URL(import.meta.resolve("#document-thread")), { name: "document" });
}

function started(start: () => Worker): Worker {
  try {
    return start();
  } catch (error) {
    throw threadError(error);
  }
}

function threadError(cause: unknown): GatewayError {
  const why = cause instanceof Error ? cause.message : String(cause);
  const what = `the document could not be checked, so the one before stays: the thread for it failed: ${why}; if it ran out of memory, give the process more, then have the config reloaded`;
  return new GatewayError("ERR_GATEWAY_THREAD", "unavailable", what, { cause });
}
