import type { ApiClient } from './api-client.ts';
import { ApiError } from './api-error.ts';
import type { PullAnswer, PullRequest, Task } from './api-schema.ts';
import { CliError } from './cli-error.ts';
import { type Console, printJson } from './console.ts';
import { interruptible } from './interruptible.ts';
import { printableLine } from './printable.ts';
import { ProgressDisplay } from './progress-display.ts';
import { followTask } from './task-follower.ts';
import { authenticationHint, interruptedLines, startLine, type TaskVerb } from './transcript.ts';

export interface PullOutput {
  readonly json: boolean;
  /** Print the task and end, without watching it. */
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
  const answer = await interruptible(client.pull(request), console, 'pull');
  if (json) {
    printJson(console, answerJson(answer));
    return 0;
  }
  if (answer.status === 'exists') {
    console.out(quiet ? `${answer.image}\n` : `${answer.image} is already up to date (${answer.digest})\ndone\n`);
    return 0;
  }
  const pull = { id: answer.task_id, name: answer.name, reference: request.ref };
  return watchNewTask(client, pull, console, { detach, quiet });
}

/** Watches a new task to its end; with `detach` only prints how to. Resolves with the exit code. */
export async function watchNewTask(
  client: ApiClient,
  pull: WatchedPull,
  console: Console,
  { detach, quiet }: { detach: boolean; quiet: boolean },
): Promise<number> {
  if (!detach) return watch(client, pull, console, quiet);
  const { id, name } = pull;
  console.out(quiet ? `${name}\n` : `${firstLine(pull)}Follow it: bhatti task watch ${id}\n`);
  return 0;
}

/** `bhatti task watch`: the transcript of a task, running or ended, as `image pull` prints it. */
export async function watchTask(client: ApiClient, id: string, console: Console, json: boolean): Promise<number> {
  if (json) return printStates(client, id, console);
  const { name, ref, type } = await client.task(id);
  return watch(client, { id, name, reference: ref, verb: verbOf(type) }, console, false);
}

/** Prints each change as one line of JSON, so that a program can act on it at once. */
async function printStates(client: ApiClient, id: string, console: Console): Promise<number> {
  let last = '';
  const ended = await followTask(client, id, (task) => {
    const line = `${JSON.stringify(task)}\n`;
    if (line !== last) console.out(line);
    last = line;
  });
  return ended.status === 'completed' ? 0 : 1;
}

export interface WatchedPull {
  readonly id: string;
  readonly name: string;
  /** As the user typed it. */
  readonly reference: string;
  readonly verb?: TaskVerb;
}

function verbOf(type: string): TaskVerb {
  return type === 'import' ? 'importing' : 'pulling';
}

function firstLine({ id, name, reference, verb }: WatchedPull): string {
  return startLine(reference, name, id, verb);
}

async function watch(client: ApiClient, pull: WatchedPull, console: Console, quiet: boolean): Promise<number> {
  if (!quiet) console.out(firstLine(pull));
  const display = quiet ? undefined : new ProgressDisplay(console);
  // Ctrl+C only detaches, and awaits nothing, so that the shell's prompt is back at once.
  const detach = () => {
    display?.close();
    const lines = interruptedLines(console.screen().terminal, pull.verb);
    // The stdout of a quiet pull holds nothing but the name.
    if (quiet) console.err(lines);
    else console.out(lines);
    process.exit(130);
  };
  process.once('SIGINT', detach);
  try {
    const task = await followTask(client, pull.id, (seen, ended) => display?.show(seen, ended));
    return finish(task, pull, console, quiet);
  } catch (error) {
    throw isLost(error) ? lost(error, pull) : goesOnUnwatched(error, pull);
  } finally {
    process.off('SIGINT', detach);
    display?.close();
  }
}

/** Whether the server has no such task. It had, where this ends the watching. */
function isLost(error: unknown): boolean {
  return error instanceof ApiError && error.code === 'not_found';
}

function lost(cause: unknown, pull: WatchedPull): CliError {
  const message = `the task ${pull.id} is no longer in Redis: somebody deleted it, or Redis lost its data`;
  const hint = kindOf(pull) === 'pull' ? 'Pull it again: what was fetched is kept.' : 'Import it again.';
  return new CliError('task_lost', message, { cause, hint });
}

/** Adds to an error that ends the watching, such as a replaced token, that the task goes on. */
function goesOnUnwatched(error: unknown, pull: WatchedPull): unknown {
  if (!(error instanceof CliError) || error.code === 'server_unreachable') return error;
  const goesOn = `The ${kindOf(pull)} goes on at the server; to watch it again: bhatti task watch ${pull.id}`;
  return new CliError(error.code, error.message, { cause: error, hint: `${error.hint ?? ''}\n${goesOn}`.trimStart() });
}

function kindOf({ verb }: WatchedPull): 'import' | 'pull' {
  return verb === 'importing' ? 'import' : 'pull';
}

function finish(task: Task, pull: WatchedPull, console: Console, quiet: boolean): number {
  const what = kindOf(pull);
  if (task.status === 'completed') {
    for (const warning of task.result?.warnings ?? []) console.err(`warning: ${warning}\n`);
    console.out(quiet ? `${pull.name}\n` : 'done\n');
    return 0;
  }
  if (task.status === 'cancelled') {
    console.err(`error: the ${what} was cancelled (cancelled)\n`);
    return 1;
  }
  const { code, message } = task.error ?? { code: 'internal', message: `the ${what} failed for an unknown reason` };
  console.err(`error: ${printableLine(message)} (${printableLine(code)})\n`);
  if (code === 'unauthorized') console.err(authenticationHint(pull.reference));
  return 1;
}

function answerJson(answer: PullAnswer) {
  if (answer.status !== 'exists') return answer;
  return { task_id: null, status: answer.status, name: answer.image, digest: answer.digest };
}
