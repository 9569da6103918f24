// Writes what is derived from the state tables of this folder: their models for SPIN, and rank-init's part of them as C. Run by
// `make generate` and `make verify`.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cTableOf } from './c-table.ts';
import { guard, keeper, warden } from './fencing.ts';
import { promelaOf } from './promela.ts';

const files = new Map([
  ['wire/fencing.gen.pml', promelaOf(guard, keeper, warden)],
  ['native/rank-init/guard.gen.h', cTableOf(guard)],
]);

if (import.meta.main)
  for (const [name, text] of files) writeFileSync(join(import.meta.dirname, '..', name), text);
