import type * as http from "node:http";

/**
 * What is used of `node:http`. To import the module itself is to read each of its exports, and with `WebSocket` that loads the
 * whole HTTP client that Node carries: half as much again as fastify takes to load.
 */
export const { createServer, IncomingMessage, ServerResponse, STATUS_CODES, validateHeaderName, validateHeaderValue } =
  process.getBuiltinModule("node:http");
export type IncomingMessage = http.IncomingMessage;
export type ServerResponse = http.ServerResponse;
