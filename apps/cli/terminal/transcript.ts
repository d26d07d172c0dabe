import { importFromPodman } from '../transfer/local-source.ts';
import { printableLine } from './printable.ts';

/**
 * The transcript of a pull, as a pure function: states from the API in, lines out. On a terminal a step's line is printed once
 * the step is over, as the current one is drawn in place; elsewhere each distinct line is printed once.
 */

/** One step of a pull: its phase and its latest line, without indent. */
export interface TranscriptStep {
  readonly phase: string;
  readonly line: string;
}

export interface Transcript {
  /** Every line printed, in order. */
  readonly printed: readonly TranscriptStep[];
  /** When the last line was printed, ms. */
  readonly printedAt: number;
}

/** Where lines cannot be redrawn, a step that counts bytes prints one at most this often (ms): the documented poll. */
const PIPED_INTERVAL = 2000;

export const emptyTranscript: Transcript = { printed: [], printedAt: 0 };

export type TaskType = 'pull' | 'import';

/** The first line: what is pulled, under which name, as which task. */
export function startLine(requested: string, name: string, taskId: string, type: TaskType): string {
  return `${type}ing ${printableLine(requested)} as "${name}" (task: ${taskId})\n`;
}

/**
 * The lines to print after `transcript` for `steps` (every phase so far, in order, each with its latest line). With `ended`, as
 * no more will follow, nothing is held back.
 */
export function advance(
  transcript: Transcript,
  steps: readonly TranscriptStep[],
  { terminal, now, ended = false }: { terminal: boolean; now: number; ended?: boolean },
): { transcript: Transcript; output: string } {
  let next = transcript;
  let output = '';
  for (const [index, step] of steps.entries()) {
    const last = index === steps.length - 1;
    const due = ended || !last || now - next.printedAt >= PIPED_INTERVAL;
    const wanted = terminal ? isOver(next, step, last && !ended) : isNews(next, step, last, due);
    if (!wanted) continue;
    output += `  ${printableLine(step.line)}\n`;
    next = { printed: [...next.printed, step], printedAt: now };
  }
  return { transcript: next, output };
}

/** What is printed on Ctrl+C. */
export function interruptedLines(terminal: boolean, type: TaskType): string {
  const what = type === 'import' ? 'Import' : 'Pull';
  return `${terminal ? '^C\n' : ''}Interrupted. ${what} continues on server.\nCheck status: bhatti image list\n`;
}

/** How to get an image that the registry does not serve to everyone; `reference` as the user typed it. */
export function authenticationHint(reference: string): string {
  return [
    'This image may require authentication.',
    'Pull it with Docker locally, then import:',
    `  docker pull ${reference}`,
    `  bhatti image import ${reference}`,
    '',
  ].join('\n');
}

/** Below the error of a pull from `localhost`: Podman, too, calls what it built so. */
export function podmanHint(reference: string): string {
  return `An image that Podman built? Import it: ${importFromPodman(reference)}\n`;
}

/** A step that a retry repeats has its line already. */
function isOver({ printed }: Transcript, step: TranscriptStep, underWay: boolean): boolean {
  return !underWay && !printed.some(({ phase }) => phase === step.phase);
}

function isNews({ printed }: Transcript, step: TranscriptStep, last: boolean, due: boolean): boolean {
  if (printed.some(({ line }) => line === step.line)) return false;
  const seen = printed.some(({ phase }) => phase === step.phase);
  const current = printed.at(-1)?.phase === step.phase;
  if (seen && !due) return false;
  return !(seen && !last && !current);
}
