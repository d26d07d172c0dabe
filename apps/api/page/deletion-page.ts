import { formatBytes } from '@bhatti/tasks';
import { type Html, html } from './html.ts';
import { deletionPath, type ListedImage } from './image-list.ts';
import { formField, layout, type Visitor } from './layout.ts';

/** Asks before an image is deleted. A page, so that it works without scripts. */
export function deletionPage(image: ListedImage, visitor: Visitor): Html {
  return layout(
    `Delete ${image.name} · bhatti images`,
    visitor,
    html`<p class="back"><a href="/">← Images and tasks</a></p>
<h1>Delete ${image.name}?</h1>
<p>${image.owner !== visitor.owner && html`Of <b>${image.owner}</b>. `}<span class="wrap">${image.ref}</span>, ${image.platform}, ${formatBytes(image.disk_bytes)} on disk.</p>
<p class="hint">What boots from it must have its own copy. It can be pulled again while its registry has it.</p>
<form method="post" action="${deletionPath(image)}" class="answer">${formField(visitor.formToken)}<button>Delete ${image.name}</button><a href="/">Keep it</a></form>`,
  );
}
