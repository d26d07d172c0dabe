import { type Html, html } from './html.ts';
import { imageList, type ListedImage } from './image-list.ts';
import { alertBox, formField, layout, type Visitor } from './layout.ts';
import { type RecentTasks, taskList } from './task-list.ts';

export interface HomeView {
  readonly visitor: Visitor;
  readonly images: readonly ListedImage[];
  readonly tasks: RecentTasks | null;
  /** Why the pull that was asked for could not be queued, and what was asked. */
  readonly refused: { readonly message: string; readonly ref: string } | null;
}

export function homePage({ visitor, images, tasks, refused }: HomeView): Html {
  return layout(
    'bhatti images',
    visitor,
    html`<h1 class="unseen">Images and tasks</h1>
<section aria-labelledby="pull">
<h2 id="pull">Pull an image</h2>
${alertBox(refused?.message ?? null)}
${pullForm(visitor, refused?.ref ?? '')}
</section>
<section aria-labelledby="tasks">
<h2 id="tasks">Tasks</h2>
<div data-live="/ui/tasks">${taskList(tasks, visitor)}</div>
</section>
<section aria-labelledby="images">
<h2 id="images">Images <span class="count">${images.length}</span></h2>
<div data-live-after="/ui/images">${imageList(images, visitor)}</div>
</section>`,
  );
}

function pullForm(visitor: Visitor, ref: string): Html {
  return html`<form method="post" action="/ui/pull" class="card pull" autocomplete="off">
${formField(visitor.formToken)}
<div class="row"><label for="ref" class="unseen">Image reference</label>
<input id="ref" name="ref" required placeholder="python:3.12 or ghcr.io/org/image:tag" value="${ref}" spellcheck="false" autocapitalize="none">
<button>Pull</button></div>
<details><summary>Options</summary>
<div class="options">
<label>Name<input name="name" placeholder="from the reference" maxlength="63" spellcheck="false" autocapitalize="none"></label>
<label>Platform<input name="platform" placeholder="linux/amd64" spellcheck="false" autocapitalize="none"></label>
<label>Size of the file system<input name="size" placeholder="from the content; or 2GB, 512MB" spellcheck="false"></label>
<label>Registry login<input name="auth" type="password" placeholder="user:token" autocomplete="off"></label>
<label class="check"><input type="checkbox" name="force" value="true">Build again, even when it is there</label>
</div></details>
</form>`;
}
