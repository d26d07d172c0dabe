import * as z from 'zod';

/** A list of strings validated as a whole: zod reports every element, which takes a minute where a hostile document has a million. */
export function listOf(isElement: (text: string) => boolean, problem: string) {
  return z.custom<string[]>(
    (value) => Array.isArray(value) && value.every((each) => typeof each === 'string' && isElement(each)),
    problem,
  );
}

export const textList = listOf(() => true, 'is not a list of strings');

const isRecord = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A map whose values are not looked at: zod's takes 8 µs for each key, and a hostile document has half a million. */
export const anyRecord = z.custom<object>(isRecord, 'is not a map');

/** A map of strings, validated as a whole. Null for a string means the empty one, as in Go. */
export const textRecord = z
  .custom<Record<string, string | null>>(
    (value) => isRecord(value) && Object.values(value).every((each) => typeof each === 'string' || each === null),
    'is not a map of strings',
  )
  .transform(
    (texts): Record<string, string> =>
      Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, text ?? ''])),
  );

/** `1 layer`, `3 layers`. */
export function counted(count: number, one: string): string {
  return `${count} ${count === 1 ? one : `${one}s`}`;
}

/** Most items that a message lists, and most characters of each. */
const SHOWN_ITEMS = 40;
const SHOWN_CHARACTERS = 200;

/** `a, b, c`, cut short for a message however many there are: `a, b, … and 19,960 more`. */
export function enumeration(items: readonly string[]): string {
  const shown = items
    .slice(0, SHOWN_ITEMS)
    .map((each) => (each.length > SHOWN_CHARACTERS ? `${each.slice(0, SHOWN_CHARACTERS)}…` : each));
  const more = items.length - shown.length;
  return more === 0 ? shown.join(', ') : `${shown.join(', ')}, … and ${more.toLocaleString('en-US')} more`;
}
