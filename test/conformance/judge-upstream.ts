import assert from "node:assert/strict";
import { rawClient, type Scripted, socketInstance, type TestGateway } from "../../pkg/gateway/src/testing/kit.ts";
import { readReply } from "../../pkg/gateway/src/testing/read-reply.ts";
import { upstream, type UpstreamRow } from "./tables/upstream.ts";

/** An origin that says what a row says to `/row-N`, and to all else what is right. */
export function scriptedOrigin(): Promise<Scripted> {
  return socketInstance((socket) => {
    socket.on("data", (chunk) => {
      const [, target = ""] = /^\w+ (\S+) /.exec(chunk.toString("latin1")) ?? [];
      const row = upstream[Number(/^\/row-(\d+)$/.exec(target)?.[1] ?? Number.NaN)];
      if (row === undefined) socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-got: ${target}\r\n\r\nok`);
      else {
        socket.write(Buffer.from(row.says, "latin1"), () => {
          if (row.after === "end") socket.end();
          if (row.after === "reset") socket.resetAndDestroy();
        });
      }
    });
  });
}

/** Has the origin say what the row says: the client is told what it must be, and those after it get their own replies. */
export async function judgeUpstream({ gateway }: TestGateway, row: UpstreamRow): Promise<void> {
  const ask = async (target: string): Promise<{ readonly told: string; readonly text: string }> => {
    const client = await rawClient(gateway.port);
    client.send(`GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    const text = await client.toEnd();
    const { outcome, status, body, used } = readReply(Buffer.from(text, "latin1"));
    if (outcome !== "whole") return { told: outcome, text };
    assert.equal(used, text.length, "nothing comes behind the reply");
    const reason = /"reason":"(\w+)"/.exec(body)?.[1];
    return { told: reason === undefined ? `${status}` : `${status} ${reason}`, text };
  };
  const { told, text } = await ask(`/row-${upstream.indexOf(row)}`);
  assert.equal(told, row.told, text.slice(0, 1_000));
  assert.doesNotMatch(text, /poison/);
  for (let at = 0; at < 3; at++) {
    const after = await ask(`/after-${at}`);
    assert.equal(after.told, "200", after.text);
    assert.match(after.text, new RegExp(`x-got: /after-${at}\r\n`));
  }
}
