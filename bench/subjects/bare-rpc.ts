// node:http and protobuf-es by hand: the least that a call costs in this runtime.
import { createServer } from "node:http";
import { create, fromBinary, fromJsonString, toBinary, toJsonString } from "@bufbuild/protobuf";
import {
  GreetRequestSchema,
  GreetResponseSchema,
} from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { greetingOf } from "./greeting.ts";
import { serve } from "./ready.ts";

await serve(
  createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      const isJson = request.headers["content-type"] === "application/json";
      const { name } = isJson
        ? fromJsonString(GreetRequestSchema, body.toString())
        : fromBinary(GreetRequestSchema, body);
      const reply = create(GreetResponseSchema, { message: greetingOf(name) });
      const bytes = isJson
        ? Buffer.from(toJsonString(GreetResponseSchema, reply))
        : toBinary(GreetResponseSchema, reply);
      const type = isJson ? "application/json" : "application/proto";
      response.writeHead(200, { "content-type": type, "content-length": bytes.byteLength }).end(bytes);
    });
  }),
);
