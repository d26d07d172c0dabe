import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attributes, Context, Span, Tracer } from '@opentelemetry/api';
import type { Telemetry } from 'bullmq';
import { withinTraces } from './queue-telemetry.ts';

/** Ms for the spans that are left when a process ends. */
const CLOSE_DEADLINE = 1_000;

export type SpanAttributes = Readonly<Record<string, string | number>>;

export interface RequestSpan {
  /** Runs what answers the request: spans in it are below this one. */
  within<Result>(work: () => Result): Result;
  /** Ends it; statuses from 500 on are errors. */
  end(name: string, status: number, attributes: SpanAttributes): void;
}

export interface Tracing {
  /** For the `telemetry` option of BullMQ's queues and workers. */
  readonly queue: Telemetry<Context>;
  /** The span of a request, part of the trace that its `traceparent` header names (W3C Trace Context). */
  request(name: string, headers: IncomingHttpHeaders): RequestSpan;
  /** A span around the work, below the active one; marked as an error when the work throws. */
  span<Result>(name: string, work: () => Promise<Result>): Promise<Result>;
  /** Sends what is left, for 1 s at most. Never rejects. */
  close(): Promise<void>;
}

export interface StartTracingOptions {
  /** `bhatti-api`, unless OTEL_SERVICE_NAME says otherwise. */
  readonly service: string;
  readonly version: string;
  readonly env: NodeJS.ProcessEnv;
  /** Told what keeps spans from being sent. */
  readonly onProblem: (message: string) => void;
}

/** Starts to trace this process, once. undefined, at no cost, unless the environment names a collector. */
export async function startTracing(options: StartTracingOptions): Promise<Tracing | undefined> {
  const { env, onProblem } = options;
  const isNamed = Boolean(env.OTEL_EXPORTER_OTLP_ENDPOINT || env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT);
  if (!isNamed || env.OTEL_SDK_DISABLED?.toLowerCase() === 'true' || env.OTEL_TRACES_EXPORTER === 'none') {
    return undefined;
  }
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL || env.OTEL_EXPORTER_OTLP_PROTOCOL;
  if (protocol === 'grpc') {
    onProblem(
      'OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not possible: traces go by HTTP as JSON, to port 4318 of most collectors',
    );
  }
  return load(options);
}

/** OpenTelemetry's API, which only `import()` may load. */
type Api = typeof import('@opentelemetry/api');

async function load({ service, version, onProblem }: StartTracingOptions): Promise<Tracing> {
  const [api, sdk, { OTLPTraceExporter }, resources, { BullMQOtel }] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/sdk-trace-node'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
    import('bullmq-otel'),
  ]);
  tellProblems(api, onProblem);
  const provider = new sdk.NodeTracerProvider({
    resource: resources
      .defaultResource()
      .merge(resources.resourceFromAttributes({ 'service.name': service, 'service.version': version }))
      .merge(resources.detectResources({ detectors: [resources.envDetector] })),
    spanProcessors: [new sdk.BatchSpanProcessor(new OTLPTraceExporter())],
  });
  // The context manager on AsyncLocalStorage and W3C Trace Context, for BullMQ's spans and ours.
  provider.register();
  const { context, trace } = api;
  const tracer = trace.getTracer('bhatti', version);
  const isTraced = () => trace.getSpan(context.active()) !== undefined;
  return {
    queue: withinTraces(new BullMQOtel({ tracerName: 'bullmq' }), isTraced),
    request: (name, headers) => requestSpan(api, tracer, name, headers),
    span: (name, work) => tracer.startActiveSpan(name, (span) => endAfter(api, span, work)),
    close: () => sendTheLast(provider.shutdown(), onProblem),
  };
}

function tellProblems({ diag, DiagLogLevel }: Api, onProblem: StartTracingOptions['onProblem']): void {
  const silent = () => {};
  diag.setLogger(
    { error: onProblem, warn: onProblem, info: silent, debug: silent, verbose: silent },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
}

function requestSpan(api: Api, tracer: Tracer, name: string, headers: IncomingHttpHeaders): RequestSpan {
  const { context, propagation, trace, SpanKind, SpanStatusCode } = api;
  const parent = propagation.extract(context.active(), headers);
  const span = tracer.startSpan(name, { kind: SpanKind.SERVER }, parent);
  return {
    within: (work) => context.with(trace.setSpan(parent, span), work),
    end: (finalName, status, attributes) => {
      span.updateName(finalName);
      span.setAttributes({ ...attributes, 'http.response.status_code': status } satisfies Attributes);
      if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    },
  };
}

async function endAfter<Result>({ SpanStatusCode }: Api, span: Span, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    span.setStatus({ code: SpanStatusCode.ERROR });
    if (error instanceof Error) span.recordException(error);
    throw error;
  } finally {
    span.end();
  }
}

async function sendTheLast(shutdown: Promise<void>, onProblem: StartTracingOptions['onProblem']): Promise<void> {
  const ended = new AbortController();
  const sent = shutdown.then(
    () => true,
    () => false,
  );
  const late = sleep(CLOSE_DEADLINE, false, { signal: ended.signal }).catch(() => false);
  if (!(await Promise.race([sent, late]))) onProblem('the collector did not take the last spans; they are lost');
  ended.abort();
}
