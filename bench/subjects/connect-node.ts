// connect-node's adapter on node:http with one unary method, as its documentation shows it.
import { createServer } from "node:http";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { GreeterService } from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { greetingOf } from "./greeting.ts";
import { serve } from "./ready.ts";

const handler = connectNodeAdapter({
  routes: (router) => {
    router.service(GreeterService, { greet: ({ name }) => ({ message: greetingOf(name) }) });
  },
});

await serve(createServer(handler));
