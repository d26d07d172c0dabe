import { type Html, html } from './html.ts';

const steps = [
  [60, 1, 's'],
  [3600, 60, 'min'],
  [86_400, 3600, 'h'],
  [Number.POSITIVE_INFINITY, 86_400, 'd'],
] as const;

/** `5 min ago`, with the exact time (UTC) for whoever asks. */
export function timeTag(iso: string, now = Date.now()): Html {
  return html`<time datetime="${iso}" title="${iso}">${ago((now - Date.parse(iso)) / 1000)}</time>`;
}

function ago(seconds: number): string {
  if (seconds < 5) return 'just now';
  const [, unit, name] = steps.find(([below]) => seconds < below) ?? steps[3];
  return `${Math.floor(seconds / unit)} ${name} ago`;
}
