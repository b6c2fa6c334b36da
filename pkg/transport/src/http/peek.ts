import type { Socket } from "node:net";
import type { Clock } from "@plinth/kernel";

/** What every connection over HTTP/2 begins with. RFC 9113, 3.4. */
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/**
 * Tells by its first bytes, which stay to be read, whether a connection is one of HTTP/2. It is ended when they do not come in time.
 */
export function peek(
  socket: Socket,
  { clock, withinMs }: { readonly clock: Clock; readonly withinMs: number },
  done: (isHttp2: boolean) => void,
): void {
  let seen: Buffer = Buffer.alloc(0);
  const timer = clock.schedule(withinMs, () => socket.destroy(), { keepAlive: false });
  const onError = (): void => void socket.destroy();
  const settle = (isHttp2: boolean): void => {
    stop();
    if (seen.length > 0) socket.unshift(seen);
    done(isHttp2);
  };
  const onReadable = (): void => {
    for (let chunk: unknown = socket.read(); Buffer.isBuffer(chunk); chunk = socket.read())
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const length = Math.min(seen.length, preface.length);
    if (!seen.subarray(0, length).equals(preface.subarray(0, length))) settle(false);
    else if (length === preface.length) settle(true);
  };
  const onEnd = (): void => {
    if (seen.length === 0) socket.destroy();
    else settle(false);
  };
  const stop = (): void => {
    timer.cancel();
    socket.off("readable", onReadable).off("end", onEnd).off("error", onError).off("close", stop);
  };
  socket.on("readable", onReadable).on("end", onEnd).on("error", onError).on("close", stop);
}
