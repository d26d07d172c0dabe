import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  advance,
  authenticationHint,
  emptyTranscript,
  interruptedLines,
  startLine,
  type TranscriptStep,
} from '../terminal/transcript.ts';

const resolving = { phase: 'resolving', line: 'resolving manifest...' };
const flattening = { phase: 'flattening', line: 'flattening to ext4...' };
const downloading = (megabytes: number) => ({
  phase: 'downloading',
  line: `downloading layers (${megabytes} MB / 142 MB)...`,
});

interface View {
  readonly steps: readonly TranscriptStep[];
  readonly now: number;
  readonly ended?: boolean;
}

function play(views: readonly View[], terminal = false): string {
  let transcript = emptyTranscript;
  let text = '';
  for (const view of views) {
    const next = advance(transcript, view.steps, { terminal, now: view.now, ended: view.ended });
    transcript = next.transcript;
    text += next.output;
  }
  return text;
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
    expect(startLine('python:3.12', 'python-3.12', 'tsk_abc123', 'pull')).toBe(
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

  test('terminal: a line is printed when its step is over', () => {
    expect(play(pull.slice(0, -2), true)).toBe('  resolving manifest...\n');
    expect(play(pull.slice(0, -1), true)).toBe('  resolving manifest...\n  downloading layers (142 MB / 142 MB)...\n');
    expect(play(pull, true)).toBe(
      '  resolving manifest...\n  downloading layers (142 MB / 142 MB)...\n  flattening to ext4...\n',
    );
  });

  test.each([false, true])('a pull that is over at the first look prints every step (terminal: %p)', (terminal) => {
    const text = play([{ steps: [resolving, downloading(142), flattening], now: 0, ended: true }], terminal);
    expect(text).toBe('  resolving manifest...\n  downloading layers (142 MB / 142 MB)...\n  flattening to ext4...\n');
  });

  test.each([false, true])('the end prints the last count although it came at once (terminal: %p)', (terminal) => {
    const text = play(
      [
        { steps: [resolving, downloading(10)], now: 0 },
        { steps: [resolving, downloading(20)], now: 1, ended: true },
      ],
      terminal,
    );
    expect(text).toContain('  downloading layers (20 MB / 142 MB)...\n');
  });

  test('a retry goes back to a step: its line is printed again only where it says something new', () => {
    const views: View[] = [
      { steps: [resolving, downloading(142), flattening], now: 0 },
      { steps: [resolving], now: 5000 },
      { steps: [resolving, downloading(142)], now: 10_000 },
      { steps: [resolving, downloading(142), flattening], now: 15_000, ended: true },
    ];
    expect(play(views)).toBe(play(views.slice(0, 1)));
    expect(play(views, true)).toBe(
      '  resolving manifest...\n  downloading layers (142 MB / 142 MB)...\n  flattening to ext4...\n',
    );
    const afterCrash: View[] = [
      { steps: [resolving, downloading(45)], now: 0 },
      { steps: [resolving], now: 5000 },
      { steps: [resolving, downloading(60)], now: 10_000 },
    ];
    expect(play(afterCrash)).toBe(
      '  resolving manifest...\n  downloading layers (45 MB / 142 MB)...\n  downloading layers (60 MB / 142 MB)...\n',
    );
  });

  test('Ctrl+C', () => {
    const lines = 'Interrupted. Pull continues on server.\nCheck status: bhatti image list\n';
    expect(interruptedLines(false, 'pull')).toBe(lines);
    expect(interruptedLines(true, 'pull')).toBe(`^C\n${lines}`);
    expect(interruptedLines(false, 'import')).toContain('Import continues on server.\n');
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
        const lines = play(played, isTerminal).split('\n').slice(0, -1);
        expect(new Set(lines).size).toBe(lines.length);
        for (const { line, phase } of played.at(-1)?.steps.slice(-1) ?? []) {
          // A terminal shows one line for each step, even if a retry repeats it.
          if (isTerminal) expect(lines.filter((one) => one.startsWith(`  ${phase}`))).toHaveLength(1);
          else expect(lines).toContain(`  ${line}`);
        }
      }),
    );
  });
});
