/** The log of a program: lines of JSON on stderr, in which an error carries nothing but what is known to be harmless. */
export { type CreateLoggerOptions, createLogger } from './logger.ts';
export { RecentlyTold } from './recently-told.ts';
