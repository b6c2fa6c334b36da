// Question: what does a unary call over HTTP/1.1 by the Connect protocol cost the server?
//
// Floor:   node:http and protobuf-es by hand: collect the body, read the message, write the reply.
// Peer:    connect-node's adapter on node:http, nothing else registered.
// Plinth:  the same contract and handler on our HTTP server with recovery, request id, trace, log context, metrics, an
//          access log to a file, and spans of 1 % of the requests exported to an OTLP collector on the other CPU.
// Shape:   64 keep-alive connections in a closed loop, POST, a small message there and back; server alone on one CPU, after 8 s
//          of the same load, while Node still compiles.
// Targets: at most a quarter of connect-node's CPU, in JSON and in binary.
import { create, toBinary, toJsonString } from "@bufbuild/protobuf";
import {
  GreeterService,
  GreetRequestSchema,
  GreetResponseSchema,
} from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { underLoad } from "../harness/under-load.ts";
import { startPlinthHttp } from "../subjects/http-server-start.ts";
import { startNode } from "../subjects/programs.ts";
import { greetingOf } from "../subjects/greeting.ts";

const request = create(GreetRequestSchema, { name: "Ada Lovelace" });
const reply = create(GreetResponseSchema, { message: greetingOf(request.name) });

const path = `/${GreeterService.typeName}/${GreeterService.method.greet.name}`;
const json = {
  body: { contentType: "application/json", base64: toBase64(toJsonString(GreetRequestSchema, request)) },
  bodyBytes: Buffer.byteLength(toJsonString(GreetResponseSchema, reply)),
};
const binary = {
  body: { contentType: "application/proto", base64: toBase64(toBinary(GreetRequestSchema, request)) },
  bodyBytes: toBinary(GreetResponseSchema, reply).byteLength,
};

export const rpcHttp = underLoad({
  name: "rpc-http",
  sentence: "What does a unary call over HTTP/1.1 by the Connect protocol cost the server?",
  subject: "plinth, JSON",
  load: { connections: 64, path, status: 200, bodyBytes: json.bodyBytes },
  targets: [
    { row: "plinth, JSON", comparedTo: "connect-node, JSON", atMost: 0.25 },
    { row: "plinth, binary", comparedTo: "connect-node, binary", atMost: 0.25 },
  ],
  prepare: async (lab) =>
    [
      { codec: "JSON", load: json },
      { codec: "binary", load: binary },
    ].flatMap(({ codec, load }) => [
      { name: `by hand, ${codec}`, role: "floor" as const, load, start: () => startNode(lab, "bare-rpc.ts") },
      { name: `connect-node, ${codec}`, role: "peer" as const, load, start: () => startNode(lab, "connect-node.ts") },
      { name: `plinth, ${codec}`, role: "plinth" as const, load, start: () => startPlinthHttp(lab, "plinth-rpc.ts") },
    ]),
});

function toBase64(bytes: string | Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
