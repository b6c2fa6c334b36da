import { defineClient } from "@plinth/services";
import { GreeterService } from "../gen/plinth/examples/greeter/v1/greeter_pb.ts";

/** The greeter, typed by its contract: called over gRPC at whichever instances the registry tells, and at another where one fails. */
export const greeter = defineClient({ name: "greeter", descriptor: GreeterService });
