import { createLogger } from '@bhatti/logging';
import { expect, test } from '@jest/globals';
import { RedisProblems } from '../redis-problems.ts';

function start() {
  const lines: string[] = [];
  const write = (line: string) => {
    const { msg, err } = JSON.parse(line);
    lines.push(err === undefined ? msg : `${msg}: ${err.message}`);
  };
  return {
    lines,
    problems: new RedisProblems(createLogger({ name: 'worker', level: 'trace', destination: { write } })),
  };
}

const refused = () => new Error('connect ECONNREFUSED');

test('a loss is told once, however often and by whichever connection it is met', () => {
  const { lines, problems } = start();
  problems.connected();
  problems.disconnected();
  for (const connection of ['redis', 'queue', 'redis']) {
    problems.tell(refused(), connection);
    problems.disconnected();
  }
  problems.connected();
  expect(lines).toEqual(['redis: connect ECONNREFUSED', 'connected to Redis again']);
});

test('the next loss is told, also if a connection was still told of the one before once the other was back', () => {
  const { lines, problems } = start();
  problems.connected();
  problems.disconnected();
  problems.tell(refused(), 'redis');
  problems.connected();
  problems.tell(refused(), 'queue');
  lines.length = 0;

  problems.disconnected();
  problems.tell(refused(), 'redis');
  problems.connected();
  expect(lines).toEqual(['redis: connect ECONNREFUSED', 'connected to Redis again']);
});

test('a first connection is none that was made again', () => {
  const { lines, problems } = start();
  problems.tell(refused(), 'redis');
  problems.disconnected();
  problems.connected();
  expect(lines).toEqual(['redis: connect ECONNREFUSED']);
});

test('what Redis refuses is told once, whatever becomes of the connection', () => {
  const { lines, problems } = start();
  const error = Object.assign(new Error('MISCONF'), { name: 'ReplyError' });
  problems.connected();
  problems.tell(error, 'queue');
  problems.disconnected();
  problems.connected();
  problems.tell(error, 'queue');
  expect(lines).toEqual(['queue: MISCONF', 'connected to Redis again']);
});
