/** When to restart a child that died, as a pure function of how often it died. Times in ms. */

const FIRST_DELAY = 250;
const LONGEST_DELAY = 10_000;
/** A child that lived this long was healthy; its death starts the count anew. */
const HEALTHY_AFTER = 20_000;
/** A part that dies this often before the stack was ever healthy is misconfigured, and waiting does not help. */
export const START_ATTEMPTS = 3;

/** Deaths in a row, this one included, of a child that lived for `uptime`. */
export function deathsInARow(before: number, uptime: number): number {
  return uptime >= HEALTHY_AFTER ? 1 : before + 1;
}

/** The pause before the next start: doubles with each death in a row. */
export function restartDelay(deaths: number): number {
  return Math.min(FIRST_DELAY * 2 ** Math.max(deaths - 1, 0), LONGEST_DELAY);
}
