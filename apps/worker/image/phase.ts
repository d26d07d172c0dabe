import type { PullPhase } from '@bhatti/tasks';
import type { PullServices } from '../services.ts';

/** Runs a phase of a task: its seconds are counted when it succeeds, and it is a span of the task's trace. */
export function runPhase<Result>(
  { metrics, tracing }: Pick<PullServices, 'metrics' | 'tracing'>,
  phase: PullPhase,
  work: () => Promise<Result>,
): Promise<Result> {
  const timed = () => metrics.time('phase', { phase }, work);
  return tracing === undefined ? timed() : tracing.span(phase, timed);
}
