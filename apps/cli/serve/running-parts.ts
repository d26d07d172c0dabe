import { CliError } from '../cli-error.ts';
import { START_ATTEMPTS } from './restart-policy.ts';
import { type ChildSpecification, type SupervisedChild, superviseChild } from './supervised-child.ts';

export interface RunningPartsEvents {
  /** One line of log. */
  log(line: string): void;
  /** A process was started, got ready or ended, or all are `healthy` now. */
  onChange(children: readonly SupervisedChild[], healthy: boolean): void;
  /** Called once, when every part answers. */
  onHealthy(): Promise<void>;
}

/** The children of a stack, from their start to their end. */
export class RunningParts {
  readonly #specifications: readonly ChildSpecification[];
  readonly #events: RunningPartsEvents;
  readonly #children: SupervisedChild[] = [];
  readonly #stopping = new AbortController();
  readonly #changed = new EventTarget();
  #healthy = false;
  #failure: CliError | undefined;

  /** @param specifications in the order of their start: an embedded Redis, which the rest needs, first */
  constructor(specifications: readonly ChildSpecification[], events: RunningPartsEvents) {
    this.#specifications = specifications;
    this.#events = events;
  }

  /** Runs them until SIGTERM, SIGINT or SIGHUP. Rejects with CliError `start_failed` when one of them does not start. */
  async run(): Promise<void> {
    const removeSignalHandlers = this.#stopOnSignal();
    try {
      await this.#start();
      if (!this.#stopping.signal.aborted) {
        this.#healthy = true;
        this.#onChange();
        await this.#events.onHealthy();
        await untilAborted(this.#stopping.signal);
      }
    } finally {
      if (this.#failure === undefined) this.#events.log('stopping');
      await this.#stopInOrder();
      removeSignalHandlers();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Kills every child and ends this process. */
  endAtOnce(): never {
    for (const child of this.#children) child.kill();
    process.exit(1);
  }

  /** Resolves when every part is ready, or is to stop. */
  async #start(): Promise<void> {
    const [first, ...rest] = this.#specifications;
    if (first !== undefined) this.#startChild(first);
    // The API and the workers would only wait for Redis, and say so in the log.
    if (first?.name === 'redis') await this.#untilReady();
    if (!this.#stopping.signal.aborted) for (const specification of rest) this.#startChild(specification);
    await this.#untilReady();
  }

  #startChild(specification: ChildSpecification): void {
    const child = superviseChild(specification, {
      onChange: () => this.#onChange(),
      onDeath: ({ outcome, deaths, pause }) => {
        if (!this.#healthy && deaths >= START_ATTEMPTS) {
          this.#failure ??= new CliError('start_failed', `${specification.name} does not start (${outcome})`, {
            hint: 'What it said stands above.',
          });
          this.#stopping.abort();
          return;
        }
        this.#events.log(`${specification.name} ended (${outcome}), starting it again in ${pause} ms`);
      },
    });
    this.#children.push(child);
    this.#onChange();
  }

  #onChange(): void {
    this.#changed.dispatchEvent(new Event('change'));
    this.#events.onChange(this.#children, this.#healthy);
  }

  /** Resolves when every child that was started is ready, or all are to stop. */
  #untilReady(): Promise<void> {
    const { signal } = this.#stopping;
    return new Promise((resolve) => {
      const check = () => {
        if (!signal.aborted && !this.#children.every((child) => child.ready)) return;
        this.#changed.removeEventListener('change', check);
        signal.removeEventListener('abort', check);
        resolve();
      };
      this.#changed.addEventListener('change', check);
      signal.addEventListener('abort', check);
      check();
    });
  }

  /** Workers first, so that they can give their jobs back; then the API; Redis, which both need, last. */
  async #stopInOrder(): Promise<void> {
    const groups = [
      this.#children.filter((child) => child.name.startsWith('worker')),
      this.#children.filter((child) => child.name === 'api'),
      this.#children.filter((child) => child.name === 'redis'),
    ];
    for (const group of groups) await Promise.all(group.map((child) => child.stop()));
  }

  /** The second signal means: now. */
  #stopOnSignal(): () => void {
    const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
    const onSignal = () => {
      if (this.#stopping.signal.aborted) this.endAtOnce();
      else this.#stopping.abort();
    };
    for (const signal of signals) process.on(signal, onSignal);
    return () => {
      for (const signal of signals) process.off(signal, onSignal);
    };
  }
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
