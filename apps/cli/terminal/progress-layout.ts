import { formatBytes } from '@bhatti/tasks';
import { printableLine } from './printable.ts';
import { cutTo, widthOf } from './text-width.ts';

/** A download in progress; `rate` in bytes a second, undefined while not known. */
export interface Download {
  readonly downloadedBytes: number;
  readonly totalBytes: number;
  readonly rate: number | undefined;
}

export interface LayerDownload extends Download {
  readonly digest: string;
}

/** The current step. */
export interface LiveStep {
  /** The documented line, without indent. */
  readonly line: string;
  /** Of all layers together. */
  readonly total?: Download;
  readonly layers: readonly LayerDownload[];
}

/** A wider bar is no easier to read. */
const LONGEST_BAR = 30;
const SHORTEST_BAR = 8;
const BYTES = '999 MB / 999 MB'.length;
const RATE = '999 MB/s'.length;
const ID = 12;

/**
 * The step as lines to draw in place: the documented line, and one for each layer. Always narrower than `columns`, as a line
 * that fills the last column may wrap, and lower than `rows`, as the cursor stands below: where not every layer has a line, those
 * under way come first, and a last line counts the others.
 */
export function layoutStep(step: LiveStep, { columns, rows }: { columns: number; rows: number }): string[] {
  const width = Math.max(1, columns - 1);
  const height = Math.max(1, rows - 1);
  return [headLine(step, width), ...layerLines(step.layers, width, height - 1)];
}

function headLine({ line, total }: LiveStep, width: number): string {
  const text = `  ${printableLine(line)}`;
  if (total === undefined) return cutTo(text, width);
  const left = timeLeft(total);
  const speed = total.rate === undefined || isDone(total) ? '' : `  ${formatRate(total.rate)}`;
  return widest([`${text}${speed}${left && `  ${left} left`}`, `${text}${speed}`, text, `  ${bytesOf(total)}`], width);
}

function layerLines(layers: readonly LayerDownload[], width: number, height: number): string[] {
  if (height < 1 || layers.length === 0) return [];
  if (layers.length <= height) return layers.map((layer) => layerLine(layer, width));
  const byUrgency = [...layers.keys()].sort((a, b) => urgency(layers[a]) - urgency(layers[b]) || a - b);
  const shown = new Set(byUrgency.slice(0, height - 1));
  const others = layers.filter((_layer, index) => !shown.has(index));
  return [
    ...layers.filter((_layer, index) => shown.has(index)).map((layer) => layerLine(layer, width)),
    cutTo(`  ${shown.size > 0 ? 'and ' : ''}${countLine(others)}`, width),
  ];
}

/** `20 done, 17 waiting`. */
function countLine(layers: readonly LayerDownload[]): string {
  const counts = new Map<string, number>();
  for (const layer of layers) {
    const state = isDone(layer) ? 'done' : layer.downloadedBytes > 0 ? 'downloading' : 'waiting';
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  const parts = ['downloading', 'waiting', 'done'].filter((state) => counts.has(state));
  return `${layers.length} more: ${parts.map((state) => `${counts.get(state)} ${state}`).join(', ')}`;
}

function urgency(layer: LayerDownload | undefined): number {
  if (layer === undefined || isDone(layer)) return 2;
  return layer.downloadedBytes > 0 ? 0 : 1;
}

/** As much as fits: the bar gives way to the figures, and these to the percentage. */
function layerLine(layer: LayerDownload, width: number): string {
  const id = printableLine(layer.digest.replace(/^[a-z0-9]+:/, ''))
    .slice(0, ID)
    .padEnd(ID);
  const bytes = bytesOf(layer).padEnd(BYTES);
  const rate = stateOf(layer);
  const left = timeLeft(layer);
  const withBar = (figures: string, reserved: number) => {
    const room = width - `  ${id}  []  `.length - reserved;
    return room < SHORTEST_BAR ? undefined : `  ${id}  ${bar(layer, Math.min(room, LONGEST_BAR))}  ${figures}`;
  };
  const share = `${Math.floor(shareOf(layer) * 100)}%`;
  const [full, middle] = [BYTES + RATE + '  '.length * 2 + '59m 59s'.length, BYTES + RATE + '  '.length];
  return widest(
    [
      withBar(`${bytes}  ${rate.padEnd(RATE)}  ${left}`, full),
      withBar(`${bytes}  ${rate}`, middle),
      withBar(bytes, BYTES),
      `  ${id}  ${bytes}`,
      `  ${id} ${share}`,
      `  ${id.slice(0, 6)} ${share}`,
      share,
    ],
    width,
  );
}

/** How fast it is downloaded, or why it is not. */
function stateOf(layer: LayerDownload): string {
  if (isDone(layer)) return 'done';
  if (layer.downloadedBytes === 0) return 'waiting';
  return layer.rate === undefined ? '' : formatRate(layer.rate);
}

/** The first that fits, else the last, cut to the width. */
function widest(candidates: readonly (string | undefined)[], width: number): string {
  const known = candidates.filter((text) => text !== undefined).map((text) => text.trimEnd());
  return known.find((text) => widthOf(text) <= width) ?? cutTo(known.at(-1) ?? '', width);
}

/** `[====>    ]`: `length` characters within the brackets. Never shorter for more bytes. */
export function bar(download: Pick<Download, 'downloadedBytes' | 'totalBytes'>, length: number): string {
  const full = Math.floor(shareOf(download) * length);
  return `[${'='.repeat(full)}${full < length ? '>'.padEnd(length - full) : ''}]`;
}

function shareOf({ downloadedBytes, totalBytes }: Pick<Download, 'downloadedBytes' | 'totalBytes'>): number {
  return totalBytes <= 0 ? 1 : Math.min(1, Math.max(0, downloadedBytes / totalBytes));
}

function isDone({ downloadedBytes, totalBytes }: Download): boolean {
  return downloadedBytes >= totalBytes;
}

function bytesOf({ downloadedBytes, totalBytes }: Download): string {
  return `${formatBytes(downloadedBytes)} / ${formatBytes(totalBytes)}`;
}

function formatRate(rate: number): string {
  return `${formatBytes(rate)}/s`;
}

/** `8s`, `2m 5s`, `3h 10m`; empty if unknown or done. */
function timeLeft(download: Download): string {
  if (isDone(download) || download.rate === undefined || download.rate <= 0) return '';
  const seconds = Math.ceil((download.totalBytes - download.downloadedBytes) / download.rate);
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
  if (seconds < 100 * 3600) return `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`;
  return '';
}
