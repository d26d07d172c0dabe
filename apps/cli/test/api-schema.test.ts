import { TaskView } from '@bhatti/tasks';
import { describe, expect, test } from '@jest/globals';
import { type Task, task } from '../server/api-schema.ts';

describe('api schema', () => {
  const view: TaskView = {
    id: 'tsk_abcdefabcdef',
    type: 'pull',
    status: 'running',
    name: 'python-3.12',
    ref: 'python:3.12',
    progress: 'resolving manifest...',
    detail: {
      line: 'resolving manifest...',
      phase: 'resolving',
      steps: [{ phase: 'resolving', line: 'resolving manifest...' }],
    },
    result: null,
    error: null,
    created_at: '2026-01-01T00:00:00.000Z',
    started_at: null,
    completed_at: null,
  };

  test('understands the views of the task contract', () => {
    // Also checked by the compiler: every TaskView is a Task of the CLI.
    const understood: Task = TaskView.parse(view);
    expect(task.parse(view)).toEqual(understood);
  });

  test('keeps what a newer server says, for --json', () => {
    expect(task.parse({ ...view, priority: 3 })).toMatchObject({ priority: 3 });
  });
});
