import type { Readable } from 'node:stream';
import { createParser } from 'eventsource-parser';

/** The data of every event of the type `wanted` in a `text/event-stream`, as it arrives. Rejects as the stream does. */
export async function* serverSentEvents(stream: Readable, wanted: string): AsyncGenerator<string> {
  let arrived: string[] = [];
  const parser = createParser({
    onEvent: ({ event, data }) => {
      if (event === wanted) arrived.push(data);
    },
  });
  stream.setEncoding('utf8');
  for await (const chunk of stream) {
    parser.feed(String(chunk));
    const events = arrived;
    arrived = [];
    yield* events;
  }
}
