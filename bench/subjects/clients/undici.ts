// undici and protobuf-es by hand: the least that a call over HTTP/1.1 costs in this runtime.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Pool } from "undici";
import {
  GreeterService,
  GreetRequestSchema,
  GreetResponseSchema,
} from "../../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { required } from "../ready.ts";
import { measureCalls } from "./measure.ts";

const pool = new Pool(`http://127.0.0.1:${required("HTTP_PORT")}`, { connections: 64 });
const path = `/${GreeterService.typeName}/${GreeterService.method.greet.name}`;
const headers = { "content-type": "application/proto", "connect-protocol-version": "1" };

await measureCalls(async (name) => {
  const body = toBinary(GreetRequestSchema, create(GreetRequestSchema, { name }));
  const reply = await pool.request({ method: "POST", path, headers, body });
  return fromBinary(GreetResponseSchema, new Uint8Array(await reply.body.arrayBuffer())).message;
});
await pool.close();
