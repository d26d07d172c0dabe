import { formatBytes } from '@bhatti/tasks';
import { z } from 'zod';
import { type Html, html } from './html.ts';
import { timeTag } from './time.ts';

/** What the page shows of an image, as `GET /images` answers. */
export const ListedImage = z.object({
  name: z.string(),
  ref: z.string(),
  digest: z.string(),
  platform: z.string(),
  size_bytes: z.number(),
  disk_bytes: z.number(),
  created_at: z.string(),
  warnings: z.array(z.string()),
});
export type ListedImage = z.output<typeof ListedImage>;

export function imageList(images: readonly ListedImage[]): Html {
  if (images.length === 0) return html`<p class="empty">No images yet. Pull one above.</p>`;
  return html`<div class="scroll"><table class="images">
<thead><tr><th scope="col">Name</th><th scope="col">Reference</th><th scope="col" class="number">Size</th><th scope="col" class="number">On disk</th><th scope="col">Created</th><th scope="col">Digest</th><th scope="col"><span class="unseen">Actions</span></th></tr></thead>
<tbody>${images.map(imageRow)}</tbody>
</table></div>`;
}

function imageRow(image: ListedImage): Html {
  return html`<tr data-key="${image.name}">
<th scope="row">${image.name}${image.warnings.length > 0 && html` <span class="warn" title="${image.warnings.join('\n')}">⚠ <span class="unseen">${image.warnings.join('; ')}</span></span>`}</th>
<td data-label="Reference"><span class="wrap">${image.ref}</span><span class="hint platform">${image.platform}</span></td>
<td data-label="Size" class="number">${formatBytes(image.size_bytes)}</td>
<td data-label="On disk" class="number">${formatBytes(image.disk_bytes)}</td>
<td data-label="Created">${timeTag(image.created_at)}</td>
<td data-label="Digest"><code title="${image.digest}">${image.digest.slice('sha256:'.length, 'sha256:'.length + 12)}</code></td>
<td><a href="/ui/images/${image.name}/delete" aria-label="Delete ${image.name}">Delete</a></td>
</tr>`;
}
