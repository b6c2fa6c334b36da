// A small NestJS app on fastify: one controller, one health check of terminus. The decorators are called as functions, as
// the TypeScript compiler emits them.
import { Controller, Get, Inject, Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { FastifyAdapter } from "@nestjs/platform-fastify";
import { HealthCheck, HealthCheckService, HealthIndicatorService, TerminusModule } from "@nestjs/terminus";

class AppController {
  readonly #health: HealthCheckService;
  readonly #indicators: HealthIndicatorService;

  constructor(health: HealthCheckService, indicators: HealthIndicatorService) {
    this.#health = health;
    this.#indicators = indicators;
  }

  ready() {
    return this.#health.check([() => this.#indicators.check("app").up()]);
  }

  greeting() {
    return { text: "hello" };
  }
}

function decorate(method: "ready" | "greeting", ...decorators: readonly MethodDecorator[]): void {
  const descriptor = Object.getOwnPropertyDescriptor(AppController.prototype, method);
  if (descriptor === undefined) throw new TypeError(`AppController has no method ${method}`);
  for (const decorator of decorators) decorator(AppController.prototype, method, descriptor);
}

decorate("ready", HealthCheck(), Get("ready"));
decorate("greeting", Get("greeting"));
Inject(HealthCheckService)(AppController, undefined, 0);
Inject(HealthIndicatorService)(AppController, undefined, 1);
Controller()(AppController);

// oxlint-disable-next-line typescript/no-extraneous-class -- a Nest module is a class, and this one has only imports
class AppModule {}
Module({ imports: [TerminusModule], controllers: [AppController] })(AppModule);

// As Nest logs unless told otherwise, without the lines of a usual start.
const app = await NestFactory.create(AppModule, new FastifyAdapter(), { logger: ["fatal", "error", "warn"] });
app.enableShutdownHooks();
await app.listen(Number(process.env["PORT"]), "127.0.0.1");
