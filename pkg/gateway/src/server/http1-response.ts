import { ServerResponse } from "node:http";
import type { ClientResponse } from "./client-message.ts";
import type { Exchange } from "./exchange.ts";

/** A reply over HTTP/1, which knows its exchange: listeners need no closures. */
export class GatewayResponse extends ServerResponse implements ClientResponse {
  exchange: Exchange | undefined;
  /** Whose turn is next on the connection. */
  onOver: (() => void) | undefined;

  get isStream(): boolean {
    return false;
  }

  attach(exchange: Exchange): void {
    this.exchange = exchange;
    this.on("close", onClose);
    this.on("error", onError);
  }

  awaitRoom(): void {
    if (this.listenerCount("drain") === 0) this.on("drain", onDrain);
  }
}

function onClose(this: GatewayResponse): void {
  this.exchange?.finish();
  this.onOver?.();
}

/** Such as a write after the end; unheard, it would end the process. */
function onError(this: GatewayResponse, error: Error): void {
  this.exchange?.fault(error);
}

function onDrain(this: GatewayResponse): void {
  this.exchange?.forwarding?.resume();
}
