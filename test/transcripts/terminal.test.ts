import { TERMINAL, testPages } from '../support/played-pages.ts';

testPages([TERMINAL]);
