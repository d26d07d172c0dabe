import { setTimeout as delay } from 'node:timers/promises';
import { type ApiClient, ApiError, UnreachableError } from './api-client.ts';
import type { PullAnswer, PullRequest, Task } from './api-schema.ts';
import { CliError } from './cli-error.ts';
import { type Console, printJson } from './console.ts';
import {
  advance,
  authenticationHint,
  closeLine,
  emptyTranscript,
  interruptedLines,
  startLine,
  type TranscriptStep,
} from './transcript.ts';

/** The documented poll, as a long poll: an answer comes sooner when there is news. Seconds. */
const POLL_WAIT = 2;
/** How long the API may be away (a restart, an upgrade) before the CLI gives up watching. ms. */
const AWAY_LIMIT = 60_000;
const AWAY_PAUSE = 500;

export interface PullOutput {
  readonly json: boolean;
  /** Do not watch: say which task it is, and end. */
  readonly detach: boolean;
  /** Print the name of the image and nothing else. */
  readonly quiet: boolean;
}

/** `bhatti image pull`: asks for the pull and prints its transcript. Resolves with the exit code. */
export async function pullImage(
  client: ApiClient,
  request: PullRequest,
  console: Console,
  { json, detach, quiet }: PullOutput,
): Promise<number> {
  const answer = await client.pull(request);
  if (json) {
    printJson(console, answerJson(answer));
    return 0;
  }
  if (answer.status === 'exists') {
    console.out(quiet ? `${answer.image}\n` : `${answer.image} is already up to date (${answer.digest})\ndone\n`);
    return 0;
  }
  const pull = { id: answer.task_id, name: answer.name, reference: request.ref };
  return followTask(client, pull, console, { detach, quiet });
}

/** Watches a task that was just made to its end; with `detach` says how to. Resolves with the exit code. */
export async function followTask(
  client: ApiClient,
  pull: FollowedPull,
  console: Console,
  { detach, quiet }: { detach: boolean; quiet: boolean },
): Promise<number> {
  if (!detach) return follow(client, pull, console, quiet);
  const { id, name } = pull;
  console.out(quiet ? `${name}\n` : `${firstLine(pull)}Follow it: bhatti task watch ${id}\n`);
  return 0;
}

/** `bhatti task watch`: the transcript of a pull that is under way or over, as `image pull` prints it. */
export async function watchTask(client: ApiClient, id: string, console: Console, json: boolean): Promise<number> {
  const { name, ref, type } = await client.task(id);
  const verb = type === 'import' ? 'importing' : 'pulling';
  if (!json) return follow(client, { id, name, reference: ref, verb }, console, false);
  // One object a line and a change, so that a program can act on each as it comes.
  let last = '';
  const ended = await untilEnded(client, id, (task) => {
    const line = `${JSON.stringify(task)}\n`;
    if (line !== last) console.out(line);
    last = line;
  });
  return ended.status === 'completed' ? 0 : 1;
}

export interface FollowedPull {
  readonly id: string;
  readonly name: string;
  /** As the user typed it. */
  readonly reference: string;
  readonly verb?: 'pulling' | 'importing';
}

function firstLine({ id, name, reference, verb }: FollowedPull): string {
  return startLine(reference, name, id, verb);
}

async function follow(client: ApiClient, pull: FollowedPull, console: Console, quiet: boolean): Promise<number> {
  // Ctrl+C only detaches. Nothing is awaited, so that the prompt is back at once.
  const detach = () => {
    const lines = interruptedLines(console.screen());
    // What a script reads of a quiet pull is the name only.
    if (quiet) console.err(lines);
    else console.out(lines);
    process.exit(130);
  };
  process.once('SIGINT', detach);
  try {
    if (!quiet) console.out(firstLine(pull));
    return await watch(client, pull, console, quiet);
  } finally {
    process.off('SIGINT', detach);
  }
}

async function watch(client: ApiClient, pull: FollowedPull, console: Console, quiet: boolean): Promise<number> {
  let transcript = emptyTranscript;
  const task = await untilEnded(client, pull.id, (seen, ended) => {
    if (quiet) return;
    const next = advance(transcript, stepsOf(seen), { screen: console.screen(), now: Date.now(), ended });
    transcript = next.transcript;
    if (next.output) console.out(next.output);
  });
  console.out(closeLine(transcript));
  return finish(task, pull, console, quiet);
}

/** Polls the task until it has ended, and shows every state of it. Goes on when the server is away for a while. */
async function untilEnded(client: ApiClient, id: string, show: (task: Task, ended: boolean) => void): Promise<Task> {
  let poll: { wait: number; seen: string } | undefined;
  let awaySince: number | undefined;
  for (;;) {
    let task: Task;
    try {
      task = await client.task(id, poll);
      awaySince = undefined;
    } catch (error) {
      if (!isTemporary(error)) throw error;
      awaySince ??= Date.now();
      if (Date.now() - awaySince > AWAY_LIMIT) throw lostContact(id, error);
      await delay(AWAY_PAUSE);
      continue;
    }
    const ended = task.status !== 'queued' && task.status !== 'running';
    show(task, ended);
    if (ended) return task;
    poll = { wait: POLL_WAIT, seen: task.progress ?? '' };
  }
}

function finish(task: Task, pull: FollowedPull, console: Console, quiet: boolean): number {
  if (task.status === 'completed') {
    for (const warning of task.result?.warnings ?? []) console.err(`warning: ${warning}\n`);
    console.out(quiet ? `${pull.name}\n` : 'done\n');
    return 0;
  }
  if (task.status === 'cancelled') {
    console.err('error: the pull was cancelled (cancelled)\n');
    return 1;
  }
  const { code, message } = task.error ?? { code: 'internal', message: 'the pull failed for an unknown reason' };
  console.err(`error: ${message} (${code})\n`);
  if (code === 'unauthorized') console.err(authenticationHint(pull.reference));
  return 1;
}

/** Every step so far. A completed task has them in its result; a server that gives none still has its progress line. */
export function stepsOf(task: Task): readonly TranscriptStep[] {
  if (task.status === 'completed' && task.result && task.result.steps.length > 0) return task.result.steps;
  if (task.detail) return task.detail.steps;
  return task.progress === null ? [] : [{ phase: task.progress, line: task.progress }];
}

function answerJson(answer: PullAnswer) {
  if (answer.status !== 'exists') return answer;
  return { task_id: null, status: answer.status, name: answer.image, digest: answer.digest };
}

function isTemporary(error: unknown): boolean {
  if (error instanceof UnreachableError) return true;
  return error instanceof ApiError && [502, 503, 504].includes(error.status);
}

function lostContact(id: string, cause: unknown): CliError {
  return new CliError(
    'server_unreachable',
    'the server has not answered for a minute; the pull goes on when it is back',
    {
      cause,
      hint: `Check status: bhatti task show ${id}`,
    },
  );
}
