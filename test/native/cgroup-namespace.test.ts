/**
 * Control groups mounted with nsdelegate, as systemd mounts them, and an agent in a namespace of them of its own, as a container has it:
 * what it may not do there is done as the machine's first process sees them. That is a shell in a pid namespace here.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../contract/eventually.ts';

const checkout = join(import.meta.dirname, '../..');
const line = readFileSync('/proc/self/mountinfo', 'utf8')
  .split('\n')
  .find((text) => text.includes(' - cgroup2 '));
const mount = line?.split(' ')[4] ?? '';
/** Of the first namespace of control groups, which alone may set the option. */
const firstNamespace = 0xeffffffb;

function trouble(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  if (mount === '') return 'no control groups of version 2 are mounted';
  if (statSync('/proc/self/ns/cgroup').ino !== firstNamespace) return 'this is a container itself';
  return undefined;
}

const why = trouble();

describe.skipIf(why !== undefined)(
  `an agent in a namespace of control groups${why === undefined ? '' : `: ${why}`}`,
  () => {
    const top = join(mount, `muster-namespace-${process.pid}`);
    const [agent, from, to] = ['agent', 'from', 'to'].map((name) => join(top, name)) as [
      string,
      string,
      string,
    ];
    beforeAll(() => {
      for (const path of [agent, from, to]) mkdirSync(path, { recursive: true });
    });
    afterAll(async () => {
      for (const path of [agent, from, to, top]) await eventually(() => rmdirSync(path));
    });

    it('moves processes between groups outside of it', () => {
      const program = `
        import { writeFileSync } from 'node:fs';
        import { moveIntoCgroup } from '${checkout}/node-agent/host-root.ts';
        import { native } from '${checkout}/native/addon/index.ts';
        const pid = process.argv[1];
        try { writeFileSync('${to}/cgroup.procs', pid); console.log('allowed'); } catch ({ code }) { console.log(code); }
        moveIntoCgroup(native(), '${to}', pid);`;
      const remount = (option: string): string => `mount -t cgroup2 -o remount${option} none ${mount}`;
      const script = `
        ${line!.includes('nsdelegate') ? '' : `trap '${remount('')}' EXIT; ${remount(',nsdelegate')}`}
        sleep 60 & pid=$!; echo $pid >${from}/cgroup.procs
        sh -c 'echo $$ >${agent}/cgroup.procs; exec unshare --cgroup -- "$@"' sh "$0" --input-type=module -e "$1" $pid 2>&1 || true
        test $(cat ${to}/cgroup.procs) = $pid`;
      const words = ['--pid', '--fork', '--mount-proc', '--kill-child', 'bash', '-ec', script];
      const said = execFileSync('unshare', [...words, process.execPath, program], { encoding: 'utf8' });
      expect(said).toBe('ENOENT\n');
    });
  },
);
