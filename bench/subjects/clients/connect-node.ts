// connect-node's client over HTTP/1.1 in binary, as its documentation shows it.
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { GreeterService } from "../../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { required } from "../ready.ts";
import { measureCalls } from "./measure.ts";

const transport = createConnectTransport({
  baseUrl: `http://127.0.0.1:${required("HTTP_PORT")}`,
  httpVersion: "1.1",
  useBinaryFormat: true,
});
const client = createClient(GreeterService, transport);

await measureCalls(async (name) => (await client.greet({ name }, { timeoutMs: 2_000 })).message);
process.exit(); // its agent keeps connections open
