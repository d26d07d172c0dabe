import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../../../test/support/eventually.ts';
import { createProgressReporter, enqueuePull, findTask, isEnded, jobError, TaskView } from '../index.ts';
import { data, QueueFixture, result } from './support/fixture.ts';

describe('the view of a task', () => {
  let fixture: QueueFixture;

  beforeAll(async () => {
    fixture = await QueueFixture.start();
  });
  afterEach(() => fixture.reset());
  afterAll(() => fixture.stop());

  test('is null for a task that is not there, and asks Redis for no odd ids', async () => {
    const queue = fixture.queue();
    expect(await findTask(queue, 'tsk_aaaaaaaaaaaa')).toBeNull();
    await enqueuePull(queue, data);
    expect(await findTask(queue, 'meta')).toBeNull();
    expect(await findTask(queue, '../meta')).toBeNull();
    // Of a tool that names jobs otherwise.
    await queue.add('pull', data, { jobId: 'odd' });
    expect(await findTask(queue, 'odd')).toBeNull();
  });

  test('goes from queued over running to completed', async () => {
    const queue = fixture.queue();
    const { id } = await enqueuePull(queue, { ...data, owner: 'ann', sealedAuth: 'v1.sealed' });
    const queued = await findTask(queue, id);
    expect(queued).toEqual({
      owner: 'ann',
      view: {
        id,
        type: 'pull',
        status: 'queued',
        name: 'python-3.12',
        ref: 'python:3.12',
        progress: null,
        detail: null,
        result: null,
        error: null,
        created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
        started_at: null,
        completed_at: null,
      },
    });
    let finish = () => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    fixture.worker(async (job) => {
      const reporter = createProgressReporter(job);
      reporter.report({ phase: 'resolving', line: 'resolving manifest...' });
      reporter.report({
        phase: 'downloading',
        line: 'downloading layers (1 MB / 2 MB)...',
        downloadedBytes: 1e6,
        totalBytes: 2e6,
      });
      await reporter.flush();
      await finished;
      return result;
    });
    const running = await eventually(async () => {
      const task = await findTask(queue, id);
      return task?.view.detail?.phase === 'downloading' ? task.view : undefined;
    });
    expect(running).toMatchObject({
      status: 'running',
      progress: 'downloading layers (1 MB / 2 MB)...',
      detail: { downloadedBytes: 1e6, totalBytes: 2e6, steps: [{ phase: 'resolving' }, { phase: 'downloading' }] },
      completed_at: null,
    });
    expect(running.started_at).not.toBeNull();
    finish();
    const completed = await eventually(async () => {
      const task = await findTask(queue, id);
      return task !== null && isEnded(task.view.status) ? task.view : undefined;
    });
    expect(TaskView.parse(completed)).toMatchObject({
      status: 'completed',
      result,
      progress: 'flattening to ext4...',
      error: null,
    });
    expect(completed.completed_at).not.toBeNull();
    expect(JSON.stringify(completed)).not.toContain('sealed');
  });

  test('is completed after an attempt that failed', async () => {
    const queue = fixture.queue();
    fixture.worker(async (job) => {
      if (job.attemptsMade === 0) throw jobError({ code: 'registry_error', message: '503', retryable: true });
      return result;
    });
    const { id } = await enqueuePull(queue, data);
    const job = await eventually(async () => {
      const found = await queue.getJob(id);
      return found !== undefined && found.attemptsMade > 0 ? found : undefined;
    });
    // Unless its pause, of a second or two, is over by itself.
    await job.promote().catch(() => {});
    const view = await eventually(async () => {
      const task = await findTask(queue, id);
      return task !== null && isEnded(task.view.status) ? task.view : undefined;
    });
    expect(view).toMatchObject({ status: 'completed', result, error: null });
  });

  test.each([
    [
      'failed',
      'manifest_unknown: docker.io/library/nope: not found',
      { code: 'manifest_unknown', message: 'docker.io/library/nope: not found' },
    ],
    ['cancelled', 'cancelled: by the user', { code: 'cancelled', message: 'by the user' }],
    ['failed', 'no code of ours', { code: 'internal', message: 'no code of ours' }],
  ])('is %s for the reason "%s"', async (status, reason, error) => {
    const queue = fixture.queue();
    fixture.worker(async () => {
      const [code = '', message = ''] = reason.split(/: (.*)/s, 2);
      if (message === '') throw Object.assign(new Error(reason), { name: 'UnrecoverableError' });
      throw jobError({ code, message, retryable: false });
    });
    const { id } = await enqueuePull(queue, data);
    const view = await eventually(async () => {
      const task = await findTask(queue, id);
      return task !== null && isEnded(task.view.status) ? task.view : undefined;
    });
    expect(view).toMatchObject({ status, error, result: null });
    expect(view.completed_at).not.toBeNull();
  });
});
