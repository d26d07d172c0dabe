import { oldestWaiting, type TaskQueue } from '@bhatti/tasks';

/** The state of the queue, for operators. */
export interface QueueState {
  /** By state: waiting, delayed, active, completed, failed. */
  readonly tasks: Readonly<Record<string, number>>;
  /** 0 when none waits. */
  readonly oldestWaitingSeconds: number;
  readonly isPaused: boolean;
  /** The worker processes that are connected. */
  readonly workers: readonly ConnectedWorker[];
}

export interface ConnectedWorker {
  /** `host:pid` */
  readonly name: string;
  /** Since when; null where Redis does not tell (`CLIENT LIST` is not permitted). */
  readonly connectedAt: Date | null;
}

export async function readWorkers(queue: TaskQueue): Promise<readonly ConnectedWorker[]> {
  return connectedWorkers(await queue.getWorkers());
}

export async function readQueueState(queue: TaskQueue): Promise<QueueState> {
  const [{ prioritized = 0, ...counts }, oldest, isPaused, workers] = await Promise.all([
    queue.getJobCounts('waiting', 'prioritized', 'delayed', 'active', 'completed', 'failed'),
    oldestWaiting(queue),
    queue.isPaused(),
    readWorkers(queue),
  ]);
  return {
    // BullMQ counts jobs with a priority (`takeTurn`) separately; to an operator they wait like the others.
    tasks: { ...counts, waiting: (counts.waiting ?? 0) + prioritized },
    oldestWaitingSeconds: oldest === null ? 0 : Math.max(0, (Date.now() - oldest) / 1000),
    isPaused,
    workers,
  };
}

/** From the lines of `CLIENT LIST`: a worker has several connections, the oldest tells since when. */
function connectedWorkers(clients: readonly Readonly<Record<string, string>>[]): ConnectedWorker[] {
  const workers = new Map<string, ConnectedWorker>();
  for (const { rawname = '', age } of clients) {
    // Connections are named `<queue>:w:<worker>`.
    const name = rawname.slice(rawname.indexOf(':w:') + ':w:'.length) || 'unknown';
    const connectedAt = age === undefined ? null : new Date(Date.now() - Number(age) * 1000);
    const known = workers.get(name)?.connectedAt;
    if (known === undefined || (known !== null && connectedAt !== null && connectedAt < known)) {
      workers.set(name, { name, connectedAt });
    }
  }
  return [...workers.values()].sort((a, b) => a.name.localeCompare(b.name));
}
