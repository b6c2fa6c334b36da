export { type Authenticator, authenticator, type AuthMode, type AuthNeed, type Identity } from "./auth.ts";
export { ClientAddresses, createPeerTrust, networks, type Origin, peerOf, type PeerTrust } from "./client-address.ts";
export { gatewayIdentity, type GatewayIdentityOptions } from "./gateway-identity.ts";
export {
  createServiceDispatcher,
  type ServiceAlias,
  type ServiceDispatcher,
  type ServiceDispatcherOptions,
} from "./discovery/dispatcher.ts";
export { type PlinthResolver, type PlinthResolverOptions, registerPlinthResolver } from "./discovery/resolver.ts";
export { propagate, type PropagateOptions, type Propagation } from "./propagation.ts";
export { type FieldFault, RequestError, TransportError, type TransportErrorCode } from "./errors.ts";
export { createGrpcClientInterceptors, type GrpcClientOptions } from "./grpc/client-metrics.ts";
export { grpcModule, grpcServer } from "./grpc/module.ts";
export { createGrpcServer, type GrpcServer, type GrpcServerOptions } from "./grpc/server.ts";
export { grpcSettings, type GrpcSettings } from "./grpc/settings.ts";
export {
  type Fetch,
  type HttpClientOptions,
  type HttpClientOutcome,
  instrumentFetch,
  observeHttpClient,
  type ObservedRequest,
} from "./http/client-metrics.ts";
export { guardEvents } from "./http/guard-events.ts";
export {
  endConnection,
  type Http2Connection,
  http2ServerOptions,
  Http2Sessions,
  type Http2SessionsOptions,
  stopUpload,
} from "./http/http2-sessions.ts";
export { peek } from "./http/peek.ts";
export type { RouteDescription } from "./http/openapi/description.ts";
export { httpModule, httpModuleIn, httpRoutes, httpServer } from "./http/module.ts";
export {
  createHttpServer,
  type HttpApp,
  type HttpRoutes,
  type HttpServer,
  type HttpServerOptions,
} from "./http/server.ts";
export { httpSettings, httpSettingsIn, type HttpSettings } from "./http/settings.ts";
export { eventStream, type EventStreamOptions, type ServerEvent } from "./http/event-stream.ts";
export { webSocket, webSocketDefaults, type WebSocketOptions } from "./http/web-sockets.ts";
export type { WebSocketSession } from "./http/web-socket-session.ts";
export { createGrpcChannel, type GrpcChannelOptions } from "./grpc/client/channel.ts";
export { incoming, type Incoming, incomingModule } from "./incoming.ts";
export { listen, type ListenOptions } from "./listen.ts";
export { type LoopDelay, watchLoopDelay } from "./loop-delay.ts";
export {
  type Layer,
  layers,
  type Middleware,
  type MiddlewarePlace,
  type MiddlewareRequest,
  middlewares,
  type RequestOutcome,
} from "./middleware.ts";
export { createOpsHandler, type OpsHandler, type OpsOptions } from "./ops/handler.ts";
export { opsHandler, type OpsListener, opsListener, opsModule, opsRoutes, opsSettings } from "./ops/module.ts";
export { type OpsRoute, OpsRoutes } from "./ops/routes.ts";
export { type Problem, problemContentType, type ProblemOptions, toProblem } from "./problem.ts";
export { connectRoutes } from "./rpc/connect.ts";
export {
  type ChannelCall,
  type RpcMetadata,
  type RpcChannel,
  type StreamChannelCall,
  type UnaryChannelCall,
} from "./rpc/client/channel.ts";
export {
  createRpcClient,
  type RpcCallOptions,
  type RpcClient,
  type RpcClientOptions,
  type RpcMethod,
} from "./rpc/client/client.ts";
export { type ClientTls, type ConnectChannelOptions, createConnectChannel } from "./rpc/client/connect-channel.ts";
export { RpcError, type RpcErrorOptions, wasMisdirected } from "./rpc/client/errors.ts";
export { createInProcessChannel, type InProcessChannelOptions } from "./rpc/client/in-process-channel.ts";
export { type RpcCall, type RpcHandlers, rpcService, type RpcService, rpcServices } from "./rpc/service.ts";
export {
  type Certificates,
  type CertificatesOptions,
  type ClientCertificatesOptions,
  watchCertificates,
  watchClientCertificates,
} from "./tls/certificates.ts";
export { tlsSettings, type TlsSettings } from "./tls/settings.ts";
export { watchListeners, type WatchListenersOptions } from "./watch-listeners.ts";
export { fromGrpcCode, fromHttpStatus, toGrpcCode, toHttpStatus } from "./status.ts";
