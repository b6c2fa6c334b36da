// How the harness sees from outside that a server is up.
import { connect } from "node:net";

/** Whether something listens on a port of 127.0.0.1. */
export async function canConnect(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host: "127.0.0.1", port });
  socket.once("connect", () => resolve(true));
  socket.once("error", () => resolve(false));
  const connected = await promise;
  socket.destroy();
  return connected;
}

/** Whether `GET path` on a port of 127.0.0.1 is answered with status 200. Resolves with the first line of the reply. */
export async function answers200(port: number, path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host: "127.0.0.1", port, noDelay: true });
  let head = "";
  socket.setEncoding("latin1");
  socket.once("connect", () =>
    socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`),
  );
  socket.on("data", (text: string) => {
    head += text;
    if (head.includes("\r\n")) resolve(head.startsWith("HTTP/1.1 200 "));
  });
  socket.on("error", () => resolve(false));
  socket.once("close", () => resolve(false));
  const answered = await promise;
  socket.destroy();
  return answered;
}
