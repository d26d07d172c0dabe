import { formatBytes } from '@bhatti/tasks';
import * as z from 'zod';
import { type Html, html } from './html.ts';
import type { Visitor } from './layout.ts';
import { timeTag } from './time.ts';

/** What the page shows of an image, as `GET /images` answers. */
export const ListedImage = z.object({
  name: z.string(),
  owner: z.string(),
  ref: z.string(),
  digest: z.string(),
  platform: z.string(),
  size_bytes: z.number(),
  disk_bytes: z.number(),
  created_at: z.string(),
  warnings: z.array(z.string()),
});
export type ListedImage = z.output<typeof ListedImage>;

/** Shows the owner of other users' images, and a link for deletion only to those who may delete. */
export function imageList(images: readonly ListedImage[], visitor: Visitor): Html {
  if (images.length === 0) return html`<p class="empty">No images yet. Pull one above.</p>`;
  return html`<div class="scroll"><table class="images">
<thead><tr><th scope="col">Name</th><th scope="col">Reference</th><th scope="col" class="number">Size</th><th scope="col" class="number">On disk</th><th scope="col">Created</th><th scope="col">Digest</th><th scope="col"><span class="unseen">Actions</span></th></tr></thead>
<tbody>${images.map((image) => imageRow(image, visitor))}</tbody>
</table></div>`;
}

/** The page that asks before an image goes. */
export function deletionPath({ name, owner }: Pick<ListedImage, 'name' | 'owner'>): string {
  return `/ui/images/${name}/delete?owner=${encodeURIComponent(owner)}`;
}

function imageRow(image: ListedImage, visitor: Visitor): Html {
  const own = image.owner === visitor.owner;
  return html`<tr data-key="${image.owner}/${image.name}">
<th scope="row">${image.name}${!own && html` <span class="hint">of ${image.owner}</span>`}${image.warnings.length > 0 && html` <span class="warn" title="${image.warnings.join('\n')}">⚠ <span class="unseen">${image.warnings.join('; ')}</span></span>`}</th>
<td data-label="Reference"><span class="wrap">${image.ref}</span><span class="hint platform">${image.platform}</span></td>
<td data-label="Size" class="number">${formatBytes(image.size_bytes)}</td>
<td data-label="On disk" class="number">${formatBytes(image.disk_bytes)}</td>
<td data-label="Created">${timeTag(image.created_at)}</td>
<td data-label="Digest"><code title="${image.digest}">${image.digest.slice('sha256:'.length, 'sha256:'.length + 12)}</code></td>
<td>${(own || visitor.admin) && html`<a href="${deletionPath(image)}" aria-label="Delete ${image.name}${!own && ` of ${image.owner}`}">Delete</a>`}</td>
</tr>`;
}
