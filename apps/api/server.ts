import { setMaxListeners } from 'node:events';
import type { RequestListener, Server } from 'node:http';
import { createRegistryClient, readOperatorSettings } from '@bhatti/oci';
import { openStore, resolveDataDirectory } from '@bhatti/store';
import { loadSecretKey } from '@bhatti/tasks';
import type { Tracing } from '@bhatti/tracing';
import type { RequestHandler, Router } from 'express';
import type { Logger } from 'pino';
import { type Authenticate, requireBearer, trustSocket } from './access/authentication.ts';
import { FailureLimit } from './access/failure-limit.ts';
import { refuseOtherSites } from './access/own-page.ts';
import { loadToken } from './access/token-file.ts';
import { ApiRecordFile } from './api-record.ts';
import { createApp } from './app.ts';
import { type ApiConfig, DEFAULT_LISTEN, type ListenAddress } from './config.ts';
import { findProgram, RootfsCompression } from './images/rootfs-compression.ts';
import { closeServer, listenOnSocket, listenOnTcp, requireFreeSocket, urlOf } from './listeners.ts';
import { Metrics } from './metrics/metrics.ts';
import { type PageRoute, pageRoutes, pages } from './page/pages.ts';
import { Sessions } from './page/session.ts';
import { traceRequests } from './request/request-trace.ts';
import type { Route } from './request/route.ts';
import { adminRoutes } from './routes/admin.ts';
import { documentationRoutes } from './routes/documentation.ts';
import { healthRoutes } from './routes/health.ts';
import { imageTaskRoutes } from './routes/image-tasks.ts';
import { imageRoutes } from './routes/images.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { readyRoutes } from './routes/ready.ts';
import { rootfsRoutes } from './routes/rootfs.ts';
import { taskRoutes } from './routes/tasks.ts';
import type { Services } from './services.ts';
import { TaskService } from './tasks/task-service.ts';

/** When the server stops, answers in progress get this long; then their connections are cut. */
const graceMilliseconds = 1_000;
/** How long a start waits for Redis, which suffices on a busy machine, too; without it the API starts all the same. */
const redisStartMilliseconds = 3_000;

export interface RunningApi {
  readonly socketPath: string;
  /** `http://127.0.0.1:8080`; null when there is no TCP listener. */
  readonly url: string | null;
  /** Every route there is. */
  readonly routes: readonly Route[];
  /** Every page for people, without the queue board. */
  readonly pages: readonly PageRoute[];
  /** Ends long polls with the state that they have, closes everything, removes api.sock and api.json. Within 5 s. */
  close(): Promise<void>;
}

/**
 * Starts the API of a data directory. Throws when it cannot: StoreError (not writable), ListenError (another API runs
 * there, the address is taken), TaskError (REDIS_URL or the secret key is no good), OciError (registry settings). Redis may be away.
 * @param stopping aborted when the API is to end: it does not wait for Redis then, nor begin to listen
 */
export async function startApi(
  config: ApiConfig,
  env: NodeJS.ProcessEnv,
  log: Logger,
  tracing?: Tracing,
  stopping?: AbortSignal,
): Promise<RunningApi> {
  const store = await openStore(resolveDataDirectory({ flag: config.dataDirectory, env }));
  for (const warning of store.warnings) log.warn(warning);
  await loadToken(store.paths.tokenFile);
  const secretKey = await loadSecretKey({ path: store.paths.secretKeyFile, env });
  const tasks = new TaskService({
    redisUrl: config.redisUrl ?? store.paths.redisSocket,
    secretKey,
    limits: config.limits,
    log,
    telemetry: tracing?.queue,
  });
  const registry = createRegistryClient({
    ...(await readOperatorSettings(env, store.directory, { defaultListen: DEFAULT_LISTEN })),
    retry: { attempts: 1 },
  });
  const compression = new RootfsCompression(await findProgram('zstd', env.PATH));
  // What an API that died had not finished receiving.
  await store.uploads.removeOrphans();
  const services = { store, tasks, registry, compression, overlay: config.overlay };
  const api = new Api(services, new Sessions(secretKey), log, tracing);
  try {
    await api.listen(config.listen, stopping);
    return api;
  } catch (error) {
    await api.close();
    throw error;
  }
}

class Api implements RunningApi {
  readonly socketPath: string;
  readonly #services: Services;
  readonly routes: readonly Route[];
  readonly #metrics: Metrics;
  readonly #sessions: Sessions;
  readonly #log: Logger;
  readonly #trace: RequestHandler | null;
  readonly #stop = new AbortController();
  readonly #servers: Server[] = [];
  readonly #record: ApiRecordFile;
  #url: string | null = null;
  #taken: string | null = null;
  #closing: Promise<void> | undefined;

  constructor(services: Services, sessions: Sessions, log: Logger, tracing: Tracing | undefined) {
    this.#trace = tracing === undefined ? null : traceRequests(tracing);
    this.#services = services;
    this.#sessions = sessions;
    this.#log = log;
    this.#metrics = new Metrics(services);
    const routes = apiRoutes(services, this.#metrics);
    this.routes = [...routes, ...documentationRoutes(routes)];
    this.socketPath = services.store.paths.apiSocket;
    this.#record = new ApiRecordFile(services.store.paths.runDirectory);
    // Every request under way listens to it.
    setMaxListeners(0, this.#stop.signal);
  }

  get pages(): readonly PageRoute[] {
    return pageRoutes(this.#pages(trustSocket));
  }

  get url(): string | null {
    return this.#url;
  }

  /**
   * Waits for Redis first, so that clients can queue tasks as soon as the API listens. The socket comes last: an answer there
   * tells `bhatti serve` that the API has started.
   */
  async listen(address: ListenAddress | null, stopping?: AbortSignal): Promise<void> {
    await requireFreeSocket(this.socketPath);
    await this.#services.tasks.opened(redisStartMilliseconds, stopping);
    if (stopping?.aborted === true) return;
    if (address !== null)
      await this.#listenOnTcp(address, requireBearer(this.#services.store.users, new FailureLimit()));
    this.#servers.push(await listenOnSocket(this.socketPath, this.#app(trustSocket, refuseOtherSites)));
    await this.#record.write({
      listen: this.#url,
      taken: this.#taken,
      startedAt: new Date().toISOString(),
    });
    this.#log.info({ socket: this.socketPath, url: this.#url }, 'the API listens');
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #listenOnTcp(address: ListenAddress, authenticate: Authenticate): Promise<void> {
    const server = await listenOnTcp(address, this.#app(authenticate, null));
    if (server === null) {
      this.#taken = `${address.host}:${address.port}`;
      this.#log.warn(
        `port ${address.port} is taken: the API listens on its unix socket only; set BHATTI_LISTEN to another host:port, or to none`,
      );
      return;
    }
    this.#servers.push(server);
    this.#url = urlOf(server, address);
  }

  #app(authenticate: Authenticate, guard: RequestHandler | null): RequestListener {
    return createApp({
      routes: this.routes,
      authenticate,
      guard,
      log: this.#log,
      pages: this.#pages(authenticate),
      observe: this.#metrics.http.observe,
      trace: this.#trace,
      stop: this.#stop.signal,
    });
  }

  #pages(authenticate: Authenticate): Router {
    return pages({
      routes: this.routes,
      tasks: this.#services.tasks,
      sessions: this.#sessions,
      authenticate,
    });
  }

  async #close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#servers.map((server) => closeServer(server, graceMilliseconds)));
    await this.#services.tasks.close();
    await this.#services.registry.close();
    await this.#record.remove();
  }
}

function apiRoutes(services: Services, metrics: Metrics): Route[] {
  return [
    ...healthRoutes(services),
    ...readyRoutes(services),
    ...imageTaskRoutes(services),
    ...imageRoutes(services),
    ...rootfsRoutes(services),
    ...taskRoutes(services),
    ...adminRoutes(services),
    ...metricsRoutes(metrics),
  ];
}
