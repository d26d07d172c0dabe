import { PIPED, testPages } from '../support/played-pages.ts';

testPages([PIPED]);
