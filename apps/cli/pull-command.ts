import { CliError } from './cli-error.ts';
import type { ApiClient } from './server/api-client.ts';
import { ApiError } from './server/api-error.ts';
import type { PullAnswer, PullRequest, Task } from './server/api-schema.ts';
import { followTask } from './task-follower.ts';
import { type Console, printJson } from './terminal/console.ts';
import { interruptible } from './terminal/interruptible.ts';
import { printableLine } from './terminal/printable.ts';
import { ProgressDisplay } from './terminal/progress-display.ts';
import { authenticationHint, interruptedLines, podmanHint, startLine, type TaskType } from './terminal/transcript.ts';
import { WaitingNotice } from './waiting-notice.ts';

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
  const task = { type: 'pull', id: answer.task_id, name: answer.name, reference: request.ref } as const;
  return watchNewTask(client, task, console, { detach, quiet });
}

/** Watches a new task to its end; with `detach` only prints how to. Resolves with the exit code. */
export async function watchNewTask(
  client: ApiClient,
  task: WatchedTask,
  console: Console,
  { detach, quiet }: { detach: boolean; quiet: boolean },
): Promise<number> {
  if (!detach) return watch(client, task, console, quiet);
  const { id, name } = task;
  console.out(quiet ? `${name}\n` : `${firstLine(task)}Follow it: bhatti task watch ${id}\n`);
  return 0;
}

/** `bhatti task watch`: the transcript of a task, running or ended, as `image pull` prints it. */
export async function watchTask(client: ApiClient, id: string, console: Console, json: boolean): Promise<number> {
  if (json) return printStates(client, id, console);
  const { name, ref, type } = await client.task(id);
  return watch(client, { type: type === 'import' ? 'import' : 'pull', id, name, reference: ref }, console, false);
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

export interface WatchedTask {
  readonly type: TaskType;
  readonly id: string;
  readonly name: string;
  /** As the user typed it. */
  readonly reference: string;
}

function firstLine({ type, id, name, reference }: WatchedTask): string {
  return startLine(reference, name, id, type);
}

async function watch(client: ApiClient, watched: WatchedTask, console: Console, quiet: boolean): Promise<number> {
  if (!quiet) console.out(firstLine(watched));
  const display = quiet ? undefined : new ProgressDisplay(console);
  const notice = new WaitingNotice(client, console);
  // Ctrl+C only detaches, and awaits nothing, so that the shell's prompt is back at once.
  const detach = () => {
    display?.close();
    const lines = interruptedLines(console.screen().terminal, watched.type);
    // The stdout of a quiet pull holds nothing but the name.
    if (quiet) console.err(lines);
    else console.out(lines);
    process.exit(130);
  };
  process.once('SIGINT', detach);
  try {
    const task = await followTask(client, watched.id, (seen, ended) => {
      notice.see(seen);
      display?.show(seen, ended);
    });
    return finish(task, watched, console, quiet);
  } catch (error) {
    throw isLost(error) ? lost(error, watched) : goesOnUnwatched(error, watched);
  } finally {
    process.off('SIGINT', detach);
    notice.close();
    display?.close();
  }
}

/** Whether the server has no such task. It had, where this ends the watching. */
function isLost(error: unknown): boolean {
  return error instanceof ApiError && error.code === 'not_found';
}

function lost(cause: unknown, { type, id }: WatchedTask): CliError {
  const message = `the task ${id} is no longer in Redis: somebody deleted it, or Redis lost its data`;
  const hint = type === 'pull' ? 'Pull it again: what was fetched is kept.' : 'Import it again.';
  return new CliError('task_lost', message, { cause, hint });
}

/** Adds to an error that ends the watching, such as a replaced token, that the task goes on. */
function goesOnUnwatched(error: unknown, { type, id }: WatchedTask): unknown {
  if (!(error instanceof CliError) || error.code === 'server_unreachable') return error;
  const goesOn = `The ${type} goes on at the server; to watch it again: bhatti task watch ${id}`;
  return new CliError(error.code, error.message, { cause: error, hint: `${error.hint ?? ''}\n${goesOn}`.trimStart() });
}

/** Errors of a pull whose image is not in the registry, or that finds no registry. */
const notThere: ReadonlySet<string> = new Set(['manifest_unknown', 'registry_unreachable']);

function finish(task: Task, { type, name, reference }: WatchedTask, console: Console, quiet: boolean): number {
  if (task.status === 'completed') {
    for (const warning of task.result?.warnings ?? []) console.err(`warning: ${warning}\n`);
    console.out(quiet ? `${name}\n` : 'done\n');
    return 0;
  }
  if (task.status === 'cancelled') {
    console.err(`error: the ${type} was cancelled (cancelled)\n`);
    return 1;
  }
  const { code, message } = task.error ?? { code: 'internal', message: `the ${type} failed for an unknown reason` };
  console.err(`error: ${printableLine(message)} (${printableLine(code)})\n`);
  if (code === 'unauthorized') console.err(authenticationHint(reference));
  if (type === 'pull' && notThere.has(code) && /^localhost\//.test(reference)) console.err(podmanHint(reference));
  return 1;
}

function answerJson(answer: PullAnswer) {
  if (answer.status !== 'exists') return answer;
  return { task_id: null, status: answer.status, name: answer.image, digest: answer.digest };
}
