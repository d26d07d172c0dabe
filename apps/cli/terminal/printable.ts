/**
 * Text that is safe to show on a terminal: control characters, and those that reorder text, become JSON escapes (`\u001b`), so
 * that the terminal obeys nothing in a name, a reference or an answer. Newlines and tabs stay. JSON keeps its meaning.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}]/gu, (character) =>
    character === '\n' || character === '\t' ? character : escaped(character),
  );
}

/** The same for text that has to stay on one line. */
export function printableLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu, escaped);
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
