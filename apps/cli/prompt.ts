import { Writable } from 'node:stream';

/**
 * Asks a person on the terminal, and resolves with the line that is typed; with `secret` its keys are not shown. Rejects with an
 * AbortError on Ctrl+C and Ctrl+D.
 */
export async function askLine(question: string, { secret = false } = {}): Promise<string> {
  // Loaded here: few commands ask, and each would load it before it starts.
  const { createInterface } = await import('node:readline/promises');
  // The terminal is read key by key, and a secret's keys are echoed into nothing; before it is asked for, as some are quick.
  const output = secret ? new Writable({ write: (_chunk, _encoding, done) => done() }) : process.stderr;
  const prompt = createInterface({ input: process.stdin, output, terminal: true });
  const show = () => secret && process.stderr.write(question);
  // Stopped by Ctrl+Z and on again: Node shows what it has and reads no further. The terminal echoes until this event is over.
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
