// A flood of tokens whose key ids no issuer has, run as a program: PER_SECOND requests for FOR_MS milliseconds, each with another key id, many
// ahead of their replies on few connections. Prints what came, by status.
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

const { PORT = "", PER_SECOND = "", FOR_MS = "", REST = "" } = process.env;
/** Where it cannot be answered as fast, so many wait at one time. */
const maxWaiting = 2_000;
const statuses: Record<string, number> = {};
const count = { sent: 0, answered: 0 };

const sockets = Array.from({ length: 8 }, () => {
  const socket = connect(Number(PORT), "127.0.0.1");
  let rest = "";
  socket.setEncoding("latin1").on("data", (part: string) => {
    rest += part;
    const at = rest.lastIndexOf("HTTP/1.1 ") + 12; // a status line that is cut in two is looked at again
    if (at > rest.length || at < 12) return;
    for (const [, status = ""] of rest.slice(0, at).matchAll(/HTTP\/1\.1 (\d{3})/g)) {
      statuses[status] = (statuses[status] ?? 0) + 1;
      count.answered++;
    }
    rest = rest.slice(at);
  });
  return socket;
});

const startedAtMs = performance.now();
for (let elapsedMs = 0; elapsedMs < Number(FOR_MS); elapsedMs = performance.now() - startedAtMs) {
  for (
    ;
    count.sent < (elapsedMs * Number(PER_SECOND)) / 1_000 && count.sent - count.answered < maxWaiting;
    count.sent++
  ) {
    const header = Buffer.from(JSON.stringify({ alg: "ES256", kid: `random-${count.sent}` })).toString("base64url");
    sockets[count.sent % sockets.length]?.write(
      `GET /orders HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${header}.${REST}\r\n\r\n`,
    );
  }
  await delay(2);
}
while (count.answered < count.sent) await delay(10);
for (const socket of sockets) socket.destroy();
process.stdout.write(`${JSON.stringify(statuses)}\n`);
