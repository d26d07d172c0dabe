import { Writable } from 'node:stream';

/**
 * Asks a question on the terminal, and resolves with the line that is typed; `secret` keeps it from being shown. Rejects with an
 * AbortError on Ctrl+C and Ctrl+D.
 */
export async function askLine(question: string, { secret = false } = {}): Promise<string> {
  // Loaded here: few commands ask, and all of them would load it at their start.
  const { createInterface } = await import('node:readline/promises');
  // Readline turns the terminal's echo off, and echoes a secret to nowhere. Set up before the question, as some type fast.
  const output = secret ? new Writable({ write: (_chunk, _encoding, done) => done() }) : process.stderr;
  const prompt = createInterface({ input: process.stdin, output, terminal: true });
  const show = () => secret && process.stderr.write(question);
  // After Ctrl+Z and fg, Node redraws the prompt but does not read on. The terminal echoes until this event is over.
  prompt.on('SIGCONT', () => {
    prompt.resume();
    setImmediate(show);
  });
  show();
  try {
    const line = await prompt.question(secret ? '' : question);
    if (secret) process.stderr.write('\n');
    return line;
  } catch (error) {
    process.stderr.write('\n');
    throw error;
  } finally {
    prompt.close();
  }
}
