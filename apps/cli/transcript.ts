/**
 * The transcript of a pull, as a pure function of what the API says: views in, text out. On a terminal the line of the
 * step under way is redrawn in place; elsewhere each distinct line is printed once.
 */

/** One step of a pull: its phase and the latest line of it, without indent. */
export interface TranscriptStep {
  readonly phase: string;
  readonly line: string;
}

export interface Screen {
  readonly terminal: boolean;
  /** Width in characters; only used on a terminal. */
  readonly columns: number;
}

export interface Transcript {
  /** Every line printed, in order. */
  readonly printed: readonly TranscriptStep[];
  /** The phase whose line the cursor stands at the end of (terminal only). */
  readonly open: string | undefined;
  /** When the last line was printed, ms. */
  readonly printedAt: number;
}

/** Where lines cannot be redrawn, a step that counts bytes says so at most this often (ms): the documented poll. */
const PIPED_INTERVAL = 2000;
const REDRAW = '\r\x1b[2K';

export const emptyTranscript: Transcript = { printed: [], open: undefined, printedAt: 0 };

/** The first line: what is pulled, under which name, as which task. */
export function startLine(requested: string, name: string, taskId: string, verb = 'pulling'): string {
  return `${verb} ${requested} as "${name}" (task: ${taskId})\n`;
}

/**
 * The text that brings the screen from `transcript` to `steps` (every phase so far, in order, each with its latest
 * line). `ended` when no more will follow, so that nothing is held back.
 */
export function advance(
  transcript: Transcript,
  steps: readonly TranscriptStep[],
  { screen, now, ended = false }: { screen: Screen; now: number; ended?: boolean },
): { transcript: Transcript; output: string } {
  let next = transcript;
  let output = '';
  for (const [index, step] of steps.entries()) {
    const last = index === steps.length - 1;
    const due = ended || !last || now - next.printedAt >= PIPED_INTERVAL;
    const text = screen.terminal ? draw(next, step, last, screen.columns) : append(next, step, last, due);
    if (text === undefined) continue;
    output += text;
    next = {
      printed: [...next.printed, step],
      open: screen.terminal ? step.phase : undefined,
      printedAt: now,
    };
  }
  return { transcript: next, output };
}

/** Ends a line that is still open, so that what follows starts on its own. */
export function closeLine(transcript: Transcript): string {
  return transcript.open === undefined ? '' : '\n';
}

/** What Ctrl+C prints. A terminal has echoed `^C` into the open line. */
export function interruptedLines(screen: Screen): string {
  return `${screen.terminal ? '\n' : ''}Interrupted. Pull continues on server.\nCheck status: bhatti image list\n`;
}

/** How to get an image that the registry does not give to everyone; `reference` as the user typed it. */
export function authenticationHint(reference: string): string {
  return [
    'This image may require authentication.',
    'Pull it with Docker locally, then import:',
    `  docker pull ${reference}`,
    `  bhatti image import ${reference}`,
    '',
  ].join('\n');
}

function draw(transcript: Transcript, step: TranscriptStep, last: boolean, columns: number): string | undefined {
  const before = transcript.printed.findLast((printed) => printed.phase === step.phase);
  if (before?.line === step.line) return undefined;
  // A line as wide as the terminal wraps, and a wrapped line cannot be redrawn.
  const line = `  ${step.line}`.slice(0, Math.max(columns - 1, 1));
  if (transcript.open === step.phase) return REDRAW + line;
  // A line that has been left behind is history, unless the pull has gone back to that step (a retry).
  if (before !== undefined && !last) return undefined;
  return closeLine(transcript) + line;
}

function append(transcript: Transcript, step: TranscriptStep, last: boolean, due: boolean): string | undefined {
  if (transcript.printed.some((printed) => printed.line === step.line)) return undefined;
  const seen = transcript.printed.some((printed) => printed.phase === step.phase);
  const current = transcript.printed.at(-1)?.phase === step.phase;
  if (seen && !due) return undefined;
  if (seen && !last && !current) return undefined;
  return `  ${step.line}\n`;
}
