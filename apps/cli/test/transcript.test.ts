import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  advance,
  authenticationHint,
  closeLine,
  emptyTranscript,
  interruptedLines,
  startLine,
  type TranscriptStep,
} from '../transcript.ts';

const resolving = { phase: 'resolving', line: 'resolving manifest...' };
const flattening = { phase: 'flattening', line: 'flattening to ext4...' };
const downloading = (megabytes: number) => ({
  phase: 'downloading',
  line: `downloading layers (${megabytes} MB / 142 MB)...`,
});
const piped = { terminal: false, columns: 80 };
const terminal = { terminal: true, columns: 80 };
const REDRAW = '\r\x1b[2K';

interface View {
  readonly steps: readonly TranscriptStep[];
  readonly now: number;
  readonly ended?: boolean;
}

function play(views: readonly View[], screen = piped): string {
  let transcript = emptyTranscript;
  let text = '';
  for (const { steps, now, ended } of views) {
    const next = advance(transcript, steps, { screen, now, ended });
    transcript = next.transcript;
    text += next.output;
  }
  return text + closeLine(transcript);
}

/** What a terminal shows in the end: each redraw wipes its line. */
function shown(text: string): string {
  return text
    .split('\n')
    .map((line) => line.split(REDRAW).at(-1) ?? '')
    .join('\n');
}

const pull: View[] = [
  { steps: [], now: 10_000 },
  { steps: [resolving], now: 10_100 },
  { steps: [resolving, downloading(0)], now: 10_300 },
  { steps: [resolving, downloading(20)], now: 10_500 },
  { steps: [resolving, downloading(45)], now: 12_400 },
  { steps: [resolving, downloading(45)], now: 14_400 },
  { steps: [resolving, downloading(120)], now: 14_500 },
  { steps: [resolving, downloading(142), flattening], now: 15_000 },
  { steps: [resolving, downloading(142), flattening], now: 16_000, ended: true },
];

describe('transcript', () => {
  test('the first line', () => {
    expect(startLine('python:3.12', 'python-3.12', 'tsk_abc123')).toBe(
      'pulling python:3.12 as "python-3.12" (task: tsk_abc123)\n',
    );
  });

  test('piped: each line once, bytes no more often than every two seconds, the last count always', () => {
    expect(play(pull)).toBe(
      [
        '  resolving manifest...',
        '  downloading layers (0 MB / 142 MB)...',
        '  downloading layers (45 MB / 142 MB)...',
        '  downloading layers (120 MB / 142 MB)...',
        '  downloading layers (142 MB / 142 MB)...',
        '  flattening to ext4...',
        '',
      ].join('\n'),
    );
  });

  test('terminal: the line of the step under way is redrawn in place', () => {
    expect(play(pull, terminal)).toBe(
      '  resolving manifest...' +
        '\n  downloading layers (0 MB / 142 MB)...' +
        `${REDRAW}  downloading layers (20 MB / 142 MB)...` +
        `${REDRAW}  downloading layers (45 MB / 142 MB)...` +
        `${REDRAW}  downloading layers (120 MB / 142 MB)...` +
        `${REDRAW}  downloading layers (142 MB / 142 MB)...` +
        '\n  flattening to ext4...\n',
    );
    expect(shown(play(pull, terminal))).toBe(
      '  resolving manifest...\n  downloading layers (142 MB / 142 MB)...\n  flattening to ext4...\n',
    );
  });

  test.each([
    ['piped', piped],
    ['terminal', terminal],
  ])('%s: a pull that is over at the first look prints every step', (_name, screen) => {
    const text = play([{ steps: [resolving, downloading(142), flattening], now: 0, ended: true }], screen);
    expect(text).toBe('  resolving manifest...\n  downloading layers (142 MB / 142 MB)...\n  flattening to ext4...\n');
  });

  test.each([
    ['piped', piped],
    ['terminal', terminal],
  ])('%s: the end prints the last count although it came at once after another', (_name, screen) => {
    const text = play(
      [
        { steps: [resolving, downloading(10)], now: 0 },
        { steps: [resolving, downloading(20)], now: 1, ended: true },
      ],
      screen,
    );
    expect(shown(text)).toContain('  downloading layers (20 MB / 142 MB)...\n');
  });

  test('a retry goes back to a step: its line is printed again only where it says something new', () => {
    const views: View[] = [
      { steps: [resolving, downloading(142), flattening], now: 0 },
      { steps: [resolving], now: 5000 },
      { steps: [resolving, downloading(142)], now: 10_000 },
      { steps: [resolving, downloading(142), flattening], now: 15_000, ended: true },
    ];
    expect(play(views)).toBe(play(views.slice(0, 1)));
    expect(play(views, terminal)).toBe(play(views.slice(0, 1), terminal));
    const afterCrash: View[] = [
      { steps: [resolving, downloading(45)], now: 0 },
      { steps: [resolving], now: 5000 },
      { steps: [resolving, downloading(60)], now: 10_000 },
    ];
    expect(play(afterCrash)).toBe(
      '  resolving manifest...\n  downloading layers (45 MB / 142 MB)...\n  downloading layers (60 MB / 142 MB)...\n',
    );
  });

  test('a line that does not fit is cut, as a wrapped one could not be redrawn', () => {
    const narrow = { terminal: true, columns: 20 };
    expect(play([{ steps: [downloading(1), flattening], now: 0, ended: true }], narrow)).toBe(
      '  downloading layer\n  flattening to ext\n',
    );
  });

  test('Ctrl+C', () => {
    const lines = 'Interrupted. Pull continues on server.\nCheck status: bhatti image list\n';
    expect(interruptedLines(piped)).toBe(lines);
    expect(interruptedLines(terminal)).toBe(`\n${lines}`);
  });

  test('the hint names the reference as it was typed', () => {
    expect(authenticationHint('ghcr.io/org/private:latest')).toBe(
      `This image may require authentication.
Pull it with Docker locally, then import:
  docker pull ghcr.io/org/private:latest
  bhatti image import ghcr.io/org/private:latest
`,
    );
  });

  test('property: whatever views arrive, piped output has no line twice, and the latest line of every step at the end', () => {
    const phases = ['resolving', 'downloading', 'flattening'];
    const view = fc.record({
      reached: fc.integer({ min: 0, max: 3 }),
      count: fc.integer({ min: 0, max: 4 }),
      pause: fc.integer({ min: 0, max: 3000 }),
    });
    fc.assert(
      fc.property(fc.array(view, { minLength: 1 }), fc.boolean(), (views, isTerminal) => {
        let now = 0;
        const played = views.map(({ reached, count, pause }, index) => {
          now += pause;
          const steps = phases
            .slice(0, reached)
            .map((phase) => ({ phase, line: phase === 'downloading' ? `${phase} ${count}` : phase }));
          return { steps, now, ended: index === views.length - 1 };
        });
        const text = play(played, { terminal: isTerminal, columns: 80 });
        const lines = shown(text).split('\n').slice(0, -1);
        for (const phase of played.at(-1)?.steps.slice(-1) ?? []) expect(lines).toContain(`  ${phase.line}`);
        if (!isTerminal) expect(new Set(lines).size).toBe(lines.length);
      }),
    );
  });
});
