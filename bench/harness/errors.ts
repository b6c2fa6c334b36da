/** Every reason for which a bench refuses to start or to report a figure. */
export type BenchErrorCode =
  | "ERR_BENCH_ARGUMENT"
  | "ERR_BENCH_UNKNOWN_QUESTION"
  | "ERR_BENCH_MACHINE"
  | "ERR_BENCH_PEER_MISSING"
  | "ERR_BENCH_PROCESS"
  | "ERR_BENCH_LOAD"
  | "ERR_BENCH_DEFINITION";

/** A bench that cannot go on: the message says what is wrong and what to do next. */
export class BenchError extends Error {
  override readonly name = "BenchError";
  readonly code: BenchErrorCode;

  constructor(code: BenchErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
