import { setTimeout as sleep } from 'node:timers/promises';
import { openStore, type Store } from '@bhatti/store';
import { findTask, isEnded, type TaskQueue, type TaskView } from '@bhatti/tasks';
import type { Demand } from './demand.ts';
import type { BytesTwice, FetchedBytes } from './fetched-bytes.ts';
import type { Installation } from './installation.ts';
import { type AcceptedTask, checkFiles, checkImages, checkKeys, checkTasks } from './invariants.ts';

/** Ms within which every accepted task must end once the mischief is over. */
const SETTLE = 120_000;
/** Ms around the end of a task in which what it took is removed. */
const CLEARING = 2000;
/** Ms after which an upload without a task is removed, and a bit more. */
const ABANDONED = 61_000;
/** Ms within which a worker that starts has removed what dead processes left. */
const COLLECTING = 10_000;

type Tasks = ReadonlyMap<string, AcceptedTask>;
type Views = ReadonlyMap<string, TaskView | undefined>;

/** What is left when all is over, seen from outside. */
export interface Aftermath {
  readonly ends: Readonly<Record<string, number>>;
  readonly takeovers: number;
  readonly bytesSent: number;
  readonly bytesTwice: BytesTwice;
  readonly imagesChecked: number;
  /** What is wrong. */
  readonly violations: readonly string[];
}

/** Waits for the tasks to end and for leftovers of dead processes to be removed, then checks what is there. Ends all workers. */
export async function inspect(installation: Installation, { accepted, expected }: Demand): Promise<Aftermath> {
  const { queue, fetched, registry, connection } = installation;
  const views = await settled(queue, accepted);
  fetched.stop();
  noteFreed(fetched, accepted, views);
  const deaths = await countDeaths(queue, accepted);
  for (const worker of installation.workers) await worker.end('SIGTERM');
  const store = await openStore(installation.disk.path);
  await uploadsRemoved(store);
  const files = await leftFiles(installation, store);
  const images = await checkImages(store, expected);
  const bytesTwice = fetched.count(registry.requests);
  return {
    ends: countBy([...views.values()].map((view) => view?.error?.code ?? view?.status ?? 'lost')),
    takeovers: [...deaths.values()].reduce((sum, count) => sum + count, 0),
    bytesSent: registry.requests.reduce((sum, { sentBytes }) => sum + sentBytes, 0),
    bytesTwice,
    imagesChecked: images.checked,
    violations: [
      ...(bytesTwice.withoutReason > 0 ? [`${bytesTwice.withoutReason} bytes fetched again without reason`] : []),
      ...checkTasks(accepted, views, deaths),
      ...images.wrong,
      ...files,
      ...(await checkKeys(connection)),
    ],
  };
}

export function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** The tasks once all have ended, or as they are when time is up. */
async function settled(queue: TaskQueue, accepted: Tasks): Promise<Views> {
  const views = new Map<string, TaskView | undefined>();
  const deadline = Date.now() + SETTLE;
  for (const id of accepted.keys()) {
    for (;;) {
      const view = (await findTask(queue, id))?.view;
      views.set(id, view);
      // A waiting task shows as cancelled at once, but only the next free worker ends it.
      const isOver = view === undefined || (isEnded(view.status) && view.completed_at !== null);
      if (isOver || Date.now() > deadline) break;
      await sleep(100);
    }
  }
  return views;
}

/** Notes when tasks removed what they had fetched. */
function noteFreed(fetched: FetchedBytes, accepted: Tasks, views: Views): void {
  for (const [id, { image }] of accepted) {
    const view = views.get(id);
    const by = view?.status === 'cancelled' ? 'cancelled' : view?.status === 'failed' ? 'full disk' : undefined;
    const end = Date.parse(view?.completed_at ?? '');
    // It removes what it took just before its end is recorded.
    if (by !== undefined) fetched.freed(by, image, end - CLEARING, end + CLEARING);
  }
}

/** How many workers died over each task. */
async function countDeaths(queue: TaskQueue, accepted: Tasks): Promise<Map<string, number>> {
  const deaths = new Map<string, number>();
  for (const id of accepted.keys()) deaths.set(id, (await queue.getJob(id))?.stalledCounter ?? 0);
  return deaths;
}

/** Waits until no uploads are left. One whose API was killed before it queued the task is kept for a minute. */
async function uploadsRemoved(store: Store): Promise<void> {
  for (const deadline = Date.now() + ABANDONED; Date.now() < deadline; await sleep(500)) {
    if ((await store.uploads.list()).length === 0) return;
  }
}

/** The files that are left although another worker has started, which removes those of dead processes. */
async function leftFiles(installation: Installation, store: Store): Promise<string[]> {
  const last = installation.worker('last');
  last.start();
  let files: string[] = [];
  for (const deadline = Date.now() + COLLECTING; Date.now() < deadline; await sleep(200)) {
    files = await checkFiles(store);
    if (files.length === 0) break;
  }
  await last.end('SIGTERM');
  return files;
}
