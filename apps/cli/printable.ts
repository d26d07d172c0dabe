/**
 * Text as a terminal may show it: control characters and those that reorder what is read become escapes as JSON writes them
 * (`\u001b`), so that nothing in a name, a reference or an answer is obeyed. New lines and tabs stay. JSON stays the same JSON.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}]/gu, (character) =>
    character === '\n' || character === '\t' ? character : escaped(character),
  );
}

/** The same for one that has to stay on its line. */
export function printableLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu, escaped);
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
