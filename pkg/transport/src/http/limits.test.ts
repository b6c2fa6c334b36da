import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { startHttp } from "../testing/http.ts";
import type { HttpRoutes } from "./server.ts";

const routes: HttpRoutes = (app) => void app.get("/", async () => "x");
const request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

describe("a connection of HTTP/1", () => {
  it("brings as many requests as it may, and the reply to the last one closes it", async () => {
    await using http = await startHttp({ routes, settings: { maxRequestsPerConnection: 3 } });
    const connection = http.connect();
    for (let count = 1; count <= 3; count++) {
      connection.write(request);
      await connection.until(count < 3 ? "\r\n\r\nx" : "close");
    }
    const text = await connection.ended;
    assert.equal(text.match(/HTTP\/1\.1 200 OK/g)?.length, 3);
    assert.equal(text.match(/connection: close/gi)?.length, 1);
    assert.equal((await http.fetch("/")).status, 200, "the next connection counts anew");
  });

  it("gets no more answers than that for requests that do not wait for one another", async () => {
    await using http = await startHttp({ routes, settings: { maxRequestsPerConnection: 3 } });
    const text = await http.raw(request.repeat(10));
    assert.equal(text.match(/HTTP\/1\.1 200 OK/g)?.length, 3);
    assert.equal(text.match(/HTTP\/1\.1 [345]/g), null);
  });

  it("brings any number by default", async () => {
    await using http = await startHttp({ routes });
    const last = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    const text = await http.raw(request.repeat(20) + last);
    assert.equal(text.match(/HTTP\/1\.1 200 OK/g)?.length, 21);
  });
});
