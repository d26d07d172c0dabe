import type { Task } from '../server/api-schema.ts';
import type { Console } from './console.ts';
import { rateOf, type SeenBytes, seeBytes } from './download-rate.ts';
import { type LiveStep, layoutStep } from './progress-layout.ts';
import { advance, emptyTranscript, type TranscriptStep } from './transcript.ts';

/** Ms between redraws without news, as rates and remaining times change. */
const REDRAW_INTERVAL = 500;
const TOTAL = 'total';

/** The progress of a task on a console: a line for each finished step, and on a terminal the current step below them. */
export class ProgressDisplay {
  readonly #console: Console;
  #transcript = emptyTranscript;
  #task: Task | undefined;
  #seen: SeenBytes = new Map();
  readonly #timer: NodeJS.Timeout;
  readonly #offScreenChange: () => void;

  constructor(console: Console) {
    this.#console = console;
    this.#timer = setInterval(() => this.#draw(), REDRAW_INTERVAL);
    this.#offScreenChange = console.onScreenChange(() => this.#draw());
  }

  /** `ended` when no more will follow. */
  show(task: Task, ended: boolean): void {
    this.#task = task;
    this.#seen = seeBytes(this.#seen, countsOf(task), Date.now());
    if (ended) this.close();
    else {
      this.#print(false);
      this.#draw();
    }
  }

  /** Prints the current step as a line like the others. */
  close(): void {
    clearInterval(this.#timer);
    this.#offScreenChange();
    this.#console.live([]);
    this.#print(true);
    this.#task = undefined;
  }

  #print(ended: boolean): void {
    if (this.#task === undefined) return;
    const { terminal } = this.#console.screen();
    const next = advance(this.#transcript, stepsOf(this.#task), { terminal, now: Date.now(), ended });
    this.#transcript = next.transcript;
    if (next.output !== '') this.#console.out(next.output);
  }

  #draw(): void {
    const screen = this.#console.screen();
    if (this.#task === undefined || !screen.terminal) return;
    this.#console.live(layoutStep(this.#liveStep(this.#task), screen));
  }

  #liveStep(task: Task): LiveStep {
    const now = Date.now();
    const step = stepsOf(task).at(-1);
    if (step === undefined) return { line: 'waiting for a worker...', layers: [] };
    const { line } = step;
    const { downloadedBytes, totalBytes, layers = [] } = task.detail ?? {};
    if (downloadedBytes === undefined || totalBytes === undefined) return { line, layers: [] };
    return {
      line,
      total: { downloadedBytes, totalBytes, rate: rateOf(this.#seen, TOTAL, now) },
      layers: layers.map((layer, index) => ({ ...layer, rate: rateOf(this.#seen, keyOf(layer, index), now) })),
    };
  }
}

/** Every step so far. A completed task has them in its result; from a server that sends no steps, the progress line is one. */
function stepsOf(task: Task): readonly TranscriptStep[] {
  if (task.status === 'completed' && task.result && task.result.steps.length > 0) return task.result.steps;
  if (task.detail) return task.detail.steps;
  return task.progress === null ? [] : [{ phase: task.progress, line: task.progress }];
}

function countsOf({ detail }: Task): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  if (detail?.downloadedBytes !== undefined) counts.set(TOTAL, detail.downloadedBytes);
  for (const [index, layer] of (detail?.layers ?? []).entries()) counts.set(keyOf(layer, index), layer.downloadedBytes);
  return counts;
}

function keyOf({ digest }: { digest: string }, index: number): string {
  return `${index} ${digest}`;
}
