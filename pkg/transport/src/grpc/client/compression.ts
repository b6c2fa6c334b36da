import { compressionAlgorithms, InterceptingCall, type Interceptor } from "@grpc/grpc-js";

/** Which messages of a channel are compressed: the library does it, and would compress all. */
export interface Compression {
  /** Options of the library's channel. */
  readonly options: Readonly<Record<string, number>>;
  /** For calls that go through interceptors. */
  readonly interceptors: readonly Interceptor[];
  /** What a message is sent with: flags of the library. */
  flagsOf(message: Buffer): number;
}

/** @see `WriteFlags` of the library, which does not export it. */
const uncompressed = 2;

/** @param fromBytes - Smaller ones are sent as they are; `Infinity`: all. */
export function compressionOf(fromBytes: number): Compression {
  if (fromBytes === Infinity) return { options: {}, interceptors: [], flagsOf: () => 0 };
  const flagsOf = (message: Buffer): number => (message.length < fromBytes ? uncompressed : 0);
  class SparingCall extends InterceptingCall {
    override sendMessageWithContext(
      context: Parameters<InterceptingCall["sendMessageWithContext"]>[0],
      message: unknown,
    ): void {
      const flags = Buffer.isBuffer(message) ? flagsOf(message) : 0;
      super.sendMessageWithContext({ ...context, flags }, message);
    }
  }
  return {
    options: { "grpc.default_compression_algorithm": compressionAlgorithms.gzip },
    interceptors: [(options, next) => new SparingCall(next(options))],
    flagsOf,
  };
}
