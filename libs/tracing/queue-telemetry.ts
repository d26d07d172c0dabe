import type { Telemetry } from 'bullmq';

type QueueSpan = ReturnType<Telemetry['tracer']['startSpan']>;

/** A span that nobody sees. */
const unseen: QueueSpan = {
  setSpanOnContext: (context) => context,
  setAttribute: () => {},
  setAttributes: () => {},
  addEvent: () => {},
  recordException: () => {},
  end: () => {},
};

/**
 * Makes spans only within a trace. BullMQ makes one for each look at the queue, job or not: a worker without work would
 * fill the collector with traces of a single span.
 */
export function withinTraces<Context>(telemetry: Telemetry<Context>, isTraced: () => boolean): Telemetry<Context> {
  const { tracer, ...others } = telemetry;
  return {
    ...others,
    tracer: {
      startSpan: (name, options, parent) =>
        parent === undefined && !isTraced() ? unseen : tracer.startSpan(name, options, parent),
    },
  };
}
