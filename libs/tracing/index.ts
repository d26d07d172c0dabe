/** Traces for OpenTelemetry: of requests, of the queue, of the phases of tasks. Nothing of it is loaded unless it is asked for. */
export { type SpanAttributes, type StartTracingOptions, startTracing, type Tracing } from './tracing.ts';
