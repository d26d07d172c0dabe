import { formatBytes, isEnded, type TaskJobData, type TaskView } from '@bhatti/tasks';
import { type Html, html } from './html.ts';
import { formField, layout, type Visitor } from './layout.ts';
import { cancelForm, statusBadge, taskProgress } from './task-list.ts';
import { timeTag } from './time.ts';

export interface TaskPageView {
  readonly task: TaskView;
  /** What was asked for, beside reference and name. */
  readonly asked: Pick<TaskJobData, 'platform' | 'sizeBytes' | 'force'>;
  /** What the attempts wrote, oldest first. */
  readonly log: readonly string[];
}

export function taskPage(view: TaskPageView, visitor: Visitor): Html {
  return layout(
    `${view.task.ref} · bhatti images`,
    visitor,
    html`<p class="back"><a href="/">← Images and tasks</a></p>
<h1>${view.task.ref}</h1>
<div data-live="/ui/tasks/${view.task.id}/state">${taskState(view, visitor)}</div>`,
  );
}

/** The part of the page that changes. */
export function taskState({ task, asked, log }: TaskPageView, visitor: Visitor): Html {
  const steps = task.result?.steps ?? task.detail?.steps ?? [];
  return html`<div class="card task" data-key="${task.id}" data-status="${task.status}" data-title="${task.ref}">
<div class="head">${statusBadge(task)}<span class="as">${task.type} as <b>${task.name}</b></span><span class="actions">${cancelForm(task, visitor)}${againForm(task, asked, visitor)}</span></div>
${taskProgress(task)}
${task.status === 'failed' && hint(task.error?.code ?? '')}
<dl>
<div><dt>Task</dt><dd><code>${task.id}</code></dd></div>
${asked.platform !== undefined && html`<div><dt>Platform</dt><dd>${asked.platform}</dd></div>`}
<div><dt>Asked for</dt><dd>${timeTag(task.created_at)}</dd></div>
${task.started_at !== null && html`<div><dt>Started</dt><dd>${timeTag(task.started_at)}</dd></div>`}
${task.completed_at !== null && html`<div><dt>Ended</dt><dd>${timeTag(task.completed_at)}</dd></div>`}
${
  task.result !== null &&
  html`<div><dt>Size</dt><dd>${formatBytes(task.result.sizeBytes)}</dd></div>
<div class="whole"><dt>Digest</dt><dd><code class="wrap">${task.result.digest}</code></dd></div>`
}
</dl>
${task.result !== null && task.result.warnings.length > 0 && html`<h2>Warnings</h2><ul class="lines">${task.result.warnings.map((warning) => html`<li>${warning}</li>`)}</ul>`}
${steps.length > 0 && html`<h2>Steps</h2><ol class="lines">${steps.map((step) => html`<li>${step.line}</li>`)}</ol>`}
${log.length > 0 && html`<h2>Log</h2><pre class="log">${log.join('\n')}</pre>`}
</div>`;
}

/** A form that makes the same request again, but for the registry login, which is not kept. */
function againForm(task: TaskView, asked: TaskPageView['asked'], visitor: Visitor): Html | null {
  // The archive of an import is gone with its task.
  if (!isEnded(task.status) || task.status === 'completed' || task.type === 'import') return null;
  const { platform, sizeBytes, force } = asked;
  const fields = { ref: task.ref, name: task.name, platform, size: sizeBytes, force: force && 'true' };
  const inputs = Object.entries(fields).map(
    ([name, value]) => value !== undefined && html`<input type="hidden" name="${name}" value="${value}">`,
  );
  return html`<form method="post" action="/ui/pull">${formField(visitor.formToken)}${inputs}<button class="quiet">Pull again</button></form>`;
}

const hints: Readonly<Record<string, string>> = {
  unauthorized: 'The registry wants a login: pull again with “Registry login”, or import the image from Docker.',
  no_space: 'The disk of the server is full. Delete images, then pull again.',
  worker_crashed: 'Its workers died again and again. The operator finds the reason in their log.',
};

function hint(code: string): Html | null {
  const text = hints[code];
  return text === undefined ? null : html`<p class="hint">${text}</p>`;
}
