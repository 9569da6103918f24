/**
 * One process owns a store. Owners are numbered files, `owner-N`: whoever wants the store looks at the highest
 * number, and if its process is dead or has let go, makes the next number (a hard link, so it appears whole or not
 * at all) and looks again; if there is a higher one by then, it has lost. The highest file is never removed, only
 * replaced, so two processes that race, or one that sleeps in between, can never both win. A process is known by
 * pid, start time and boot id; a pid in another pid namespace cannot be checked and counts as alive.
 * Where the disk is full, the next owner's file is made of the block of `owner-room`, which every owner keeps for it.
 */
import fs from 'node:fs';
import path from 'node:path';
import { randomBytes } from 'node:crypto';
import { StoreError } from '../store-error.ts';

interface Owner {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot. */
  readonly startTime: string;
  readonly bootId: string;
  readonly pidNamespace: string;
  readonly since: string;
  readonly command: string;
  readonly released?: boolean;
}

export interface Ownership extends Disposable {
  readonly number: number;
}

const roomName = 'owner-room';
/** One block of any usual file system; longer than what is written there. */
const roomBytes = 4096;
const pattern = /^owner-(\d{1,15})$/;

export function takeOwnership(directory: string): Ownership {
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  const self = describeSelf();
  const nonce = `${process.pid}-${randomBytes(6).toString('hex')}`;
  const draft = path.join(directory, `.owner-${nonce}.tmp`);
  try {
    writeDraft(directory, draft, `${JSON.stringify(self)}\n`);
    for (;;) {
      const highest = highestNumber(directory);
      if (highest > 0) refuseIfHeld(directory, highest);
      const number = highest + 1;
      try {
        fs.linkSync(draft, fileOf(directory, number));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue;
        throw error;
      }
      if (highestNumber(directory) > number) {
        fs.unlinkSync(fileOf(directory, number));
        continue;
      }
      removeOlder(directory, number);
      keepRoom(directory);
      return { number, [Symbol.dispose]: () => release(directory, number, self) };
    }
  } finally {
    fs.rmSync(draft, { force: true });
  }
}

function writeDraft(directory: string, draft: string, text: string): void {
  try {
    fs.writeFileSync(draft, text, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC' || !takeRoom(directory, draft)) throw error;
    fs.writeFileSync(draft, text, { flag: 'r+' });
    fs.truncateSync(draft, Buffer.byteLength(text));
  }
}

/** Of two that take it at once, one has it. */
function takeRoom(directory: string, draft: string): boolean {
  try {
    fs.renameSync(path.join(directory, roomName), draft);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

function keepRoom(directory: string): void {
  const room = path.join(directory, roomName);
  if (fs.existsSync(room)) return;
  try {
    fs.writeFileSync(room, Buffer.alloc(roomBytes), { mode: 0o600, flag: 'wx' });
  } catch {
    fs.rmSync(room, { force: true }); // no room for room; who comes when there is some keeps it
  }
}

function fileOf(directory: string, number: number): string {
  return path.join(directory, `owner-${number}`);
}

function highestNumber(directory: string): number {
  return Math.max(0, ...ownerNumbers(directory));
}

function ownerNumbers(directory: string): number[] {
  return fs.readdirSync(directory).flatMap((name) => {
    const match = pattern.exec(name);
    return match ? [Number(match[1])] : [];
  });
}

/** Removes what dead owners left; a dead owner's half-made draft is `.owner-*.tmp`. */
function removeOlder(directory: string, number: number): void {
  for (const older of ownerNumbers(directory)) {
    if (older < number) fs.rmSync(fileOf(directory, older), { force: true });
  }
}

function release(directory: string, number: number, self: Owner): void {
  const draft = path.join(directory, `.owner-${self.pid}-${randomBytes(6).toString('hex')}.tmp`);
  try {
    fs.writeFileSync(draft, `${JSON.stringify({ ...self, released: true })}\n`, { mode: 0o600, flag: 'wx' });
    fs.renameSync(draft, fileOf(directory, number));
  } catch {
    // On a full disk the file keeps naming this process, which is right until it ends, and harmless then.
    fs.rmSync(draft, { force: true });
  }
}

function refuseIfHeld(directory: string, number: number): void {
  const file = fileOf(directory, number);
  let owner: Owner;
  try {
    owner = JSON.parse(fs.readFileSync(file, 'utf8')) as Owner;
  } catch {
    // Gone meanwhile, or emptied by a power loss: nobody who lives can have left it so.
    return;
  }
  if (owner.released === true || typeof owner.pid !== 'number') return;
  const self = describeSelf();
  if (owner.bootId !== self.bootId) return;
  if (owner.pidNamespace === self.pidNamespace && startTimeOf(owner.pid) !== owner.startTime) return;
  const elsewhere =
    owner.pidNamespace === self.pidNamespace
      ? ''
      : ` in another pid namespace (${owner.pidNamespace}), where it cannot be checked; if it is dead, remove ${file}`;
  throw new StoreError(
    'Unavailable',
    `The store in ${directory} belongs to process ${owner.pid} (${owner.command}, since ${owner.since})${elsewhere}; stop that process first or use another directory`,
  );
}

function describeSelf(): Owner {
  return {
    pid: process.pid,
    startTime: startTimeOf(process.pid) ?? '',
    bootId: fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    pidNamespace: fs.readlinkSync('/proc/self/ns/pid'),
    since: new Date().toISOString(),
    command: [path.basename(process.argv[0] ?? 'node'), ...process.argv.slice(1, 3)].join(' ').slice(0, 200),
  };
}

/** Undefined when there is no such process, or only its remains that nobody has waited for. */
function startTimeOf(pid: number): string | undefined {
  let stat: string;
  try {
    stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}
