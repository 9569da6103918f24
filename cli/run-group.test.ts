import { describe, expect, it } from 'vitest';
import { admit } from '../crds/admission.ts';
import { groupOfRun, inheritedEnvironment, parseHostFile, stemOf, type Caller } from './run-group.ts';
import { parseRun, UsageError } from './run-options.ts';

const caller: Caller = {
  workingDir: '/home/ann',
  umask: 0o027,
  rlimits: [],
  environment: {},
  terminal: undefined,
};
const groupOf = (text: string) => groupOfRun(parseRun(text.split(' ')), caller, 'job');

describe('groupOfRun', () => {
  it.each([
    '-n 4 ./cpi 100',
    '-n 1 a : -n 3 b',
    '-n 8 --nodes n1,n1,n2 --ppn 2 --policy cyclic --bind-to core a',
    '--tty --stdin all --time 60 --grace 0 --keep-going --pmi none sh',
    '-n 1048576 a',
  ])('makes an object that is admitted: %s', (text) => {
    expect(admit('CREATE', groupOf(text)).errors).toBeUndefined();
  });

  it('gives programs consecutive ranks', () => {
    const { spec } = groupOf('-n 1 a : -n 3 b : -n 2 c');
    expect(spec.size).toBe(6);
    expect(spec.processes?.map(({ ranks }) => ranks)).toEqual(['0', '1-3', '4-5']);
  });

  it("runs in the caller's directory unless told otherwise", () => {
    const dirOf = (text: string) => groupOf(text).spec.processes?.[0]?.workingDir;
    expect([dirOf('a'), dirOf('--wdir /x a'), dirOf('--wdir sub a')]).toEqual([
      '/home/ann',
      '/x',
      '/home/ann/sub',
    ]);
  });

  it('goes round the nodes again when they are full', () => {
    expect(groupOf('-n 8 --nodes a,b --ppn 3 x').spec.placement?.nodes).toEqual(['a', 'b', 'a']);
    expect(groupOf('-n 8 --nodes a,b x').spec.placement?.nodes).toEqual(['a', 'b']);
  });

  it('keeps the umask', () => {
    expect(groupOf('a').spec.securityContext?.umask).toBe('0027');
  });
});

describe('inheritedEnvironment', () => {
  const environment = { PATH: '/bin', HOME: '/home/ann', PMI_RANK: '3', MUSTER_RANK: '3', OLDPWD: '/' };
  const inherited = (text: string) => inheritedEnvironment(parseRun(text.split(' ')), environment);

  it('passes what is not of another launcher or of the shell', () => {
    expect(inherited('a')).toEqual({ PATH: '/bin', HOME: '/home/ann' });
    expect(inherited('-genvnone -genv X 1 a')).toEqual({ X: '1' });
    expect(inherited('-genvlist HOME a')).toEqual({ HOME: '/home/ann' });
  });
});

describe('parseHostFile', () => {
  it('repeats nodes as often as it says', () => {
    expect(parseHostFile('a:2\n# none\n\nb  # last\n', 'hosts')).toEqual(['a', 'a', 'b']);
  });

  it('names file and line of what it cannot read', () => {
    expect(() => parseHostFile('a\nB!\n', 'hosts')).toThrow(UsageError);
    expect(() => parseHostFile('a\nB!\n', 'hosts')).toThrow('hosts line 2');
  });
});

describe('stemOf', () => {
  it.each([
    ['/usr/bin/My_Prog.x', 'my-prog-x'],
    ['./cpi', 'cpi'],
    ['/', 'job'],
    ['---', 'job'],
  ])('%s becomes %s', (program, stem) => {
    expect(stemOf(program)).toBe(stem);
  });
});
