import { formatBytes, isEnded, type TaskView } from '@bhatti/tasks';
import { type Html, html } from './html.ts';
import { formField, type Visitor } from './layout.ts';
import { timeTag } from './time.ts';

export interface RecentTasks {
  readonly tasks: readonly TaskView[];
  /** There are no others. */
  readonly areAll: boolean;
}

/** Those under way, then the ended, newest first. null: the queue does not answer. */
export function taskList(recent: RecentTasks | null, visitor: Visitor): Html {
  if (recent === null) {
    return html`<p class="empty">The task queue does not answer just now. Nothing is lost; pulls go on when it is back.</p>`;
  }
  const { tasks, areAll } = recent;
  if (tasks.length === 0) return html`<p class="empty">No tasks in the last week.</p>`;
  return html`<ul class="tasks">${tasks.map((task) => taskItem(task, visitor))}</ul>
${!areAll && html`<p class="hint">The latest ${tasks.length}. <code>bhatti task list</code> shows all.</p>`}`;
}

function taskItem(task: TaskView, visitor: Visitor): Html {
  return html`<li class="card task" data-key="${task.id}" data-status="${task.status}" data-title="${task.ref}">
<div class="head">${statusBadge(task)}<a class="title" href="/ui/tasks/${task.id}">${task.ref}</a><span class="as">as <b>${task.name}</b></span>
<span class="actions">${cancelForm(task, visitor)}</span></div>
${taskProgress(task)}
<p class="hint">${when(task)} · <code>${task.id}</code></p>
</li>`;
}

/** The line and the bar of one that runs, the reason of one that failed. */
export function taskProgress(task: TaskView): Html | null {
  if (task.error !== null && task.status === 'failed') {
    return html`<p class="reason"><code>${task.error.code}</code> ${task.error.message}</p>`;
  }
  if (task.status !== 'running') return null;
  const { downloadedBytes: done, totalBytes: total } = task.detail ?? {};
  const hasBytes = task.detail?.phase === 'downloading' && done !== undefined && total !== undefined && total > 0;
  const percent = hasBytes ? Math.floor((done / total) * 100) : undefined;
  const line = task.progress ?? 'starting...';
  return html`<div class="progress"><span class="line">${line}</span>${
    percent === undefined
      ? html`<progress aria-label="${line}"></progress>`
      : html`<progress aria-label="${line}" max="100" value="${percent}">${percent} %</progress>`
  }</div>`;
}

export function cancelForm(task: TaskView, visitor: Visitor): Html | null {
  if (isEnded(task.status)) return null;
  return html`<form method="post" action="/ui/tasks/${task.id}/cancel">${formField(visitor.formToken)}<button class="quiet" aria-label="Cancel ${task.ref}">Cancel</button></form>`;
}

export function statusBadge({ status }: Pick<TaskView, 'status'>): Html {
  return html`<span class="badge ${status}">${status}</span>`;
}

function when(task: TaskView): Html {
  if (task.completed_at !== null) return html`ended ${timeTag(task.completed_at)}${took(task)}`;
  if (task.started_at !== null) return html`started ${timeTag(task.started_at)}`;
  return html`waiting since ${timeTag(task.created_at)}`;
}

function took({ status, started_at: started, completed_at: completed, result }: TaskView): string {
  if (status !== 'completed' || started === null || completed === null) return '';
  const seconds = (Date.parse(completed) - Date.parse(started)) / 1000;
  const size = result === null ? '' : `, ${formatBytes(result.sizeBytes)}`;
  return ` in ${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s${size}`;
}
