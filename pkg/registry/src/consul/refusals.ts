import type { AppError } from "@plinth/kernel";
import { RegistryError } from "../errors.ts";
import { AnsweredUnavailable } from "./http.ts";

/** The agent refuses what was to change, for good; what it has already is not touched. */
export class RefusedChange extends Error {
  readonly error: RegistryError;

  constructor(error: RegistryError) {
    super(error.message, { cause: error });
    this.error = error;
  }
}

/** True for what the agent will never take, however often it is asked. */
export function isRefusal(error: unknown): error is RegistryError {
  return error instanceof RegistryError && error.code === "ERR_REGISTRY_REJECTED";
}

const answers: ReadonlySet<string> = new Set([
  "ERR_REGISTRY_NOT_FOUND",
  "ERR_REGISTRY_OVERWRITTEN",
  "ERR_REGISTRY_REJECTED",
]);

/** True when the agent itself said that it has no such entry, or not ours: it is there, and can be asked at once. */
export function isAnswer(error: AppError): boolean {
  return error instanceof AnsweredUnavailable || (error instanceof RegistryError && answers.has(error.code));
}
