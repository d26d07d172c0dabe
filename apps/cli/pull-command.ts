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

/** `bhatti image pull`: asks for the pull and prints its transcript. Resolves with the exit code. */
export async function pullImage(client: ApiClient, request: PullRequest, console: Console, json: boolean) {
  const answer = await client.pull(request);
  if (json) {
    printJson(console, answerJson(answer));
    return 0;
  }
  if (answer.status === 'exists') {
    console.out(`${answer.image} is already up to date (${answer.digest})\ndone\n`);
    return 0;
  }
  // Ctrl+C only detaches. Nothing is awaited, so that the prompt is back at once.
  const detach = () => {
    console.out(interruptedLines(console.screen()));
    process.exit(130);
  };
  process.once('SIGINT', detach);
  try {
    console.out(startLine(request.ref, answer.name, answer.task_id));
    return await watch(client, answer.task_id, request.ref, console);
  } finally {
    process.off('SIGINT', detach);
  }
}

async function watch(client: ApiClient, id: string, reference: string, console: Console): Promise<number> {
  let transcript = emptyTranscript;
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
    const next = advance(transcript, stepsOf(task), { screen: console.screen(), now: Date.now(), ended });
    transcript = next.transcript;
    if (next.output) console.out(next.output);
    if (ended) {
      console.out(closeLine(transcript));
      return finish(task, reference, console);
    }
    poll = { wait: POLL_WAIT, seen: task.progress ?? '' };
  }
}

function finish(task: Task, reference: string, console: Console): number {
  if (task.status === 'completed') {
    for (const warning of task.result?.warnings ?? []) console.err(`warning: ${warning}\n`);
    console.out('done\n');
    return 0;
  }
  if (task.status === 'cancelled') {
    console.err('error: the pull was cancelled (cancelled)\n');
    return 1;
  }
  const { code, message } = task.error ?? { code: 'internal', message: 'the pull failed for an unknown reason' };
  console.err(`error: ${message} (${code})\n`);
  if (code === 'unauthorized') console.err(authenticationHint(reference));
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
